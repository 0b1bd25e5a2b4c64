"""Engines: what runs a model. One small interface, one implementation a runtime, and the files that they open."""
