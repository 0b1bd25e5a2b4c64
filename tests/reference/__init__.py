"""Slow, obvious second implementations: loops that a reader can check, no NumPy tricks, nothing shared with src."""
