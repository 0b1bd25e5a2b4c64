"""What is saved: each file format is written and read here alone, as a typed value."""
