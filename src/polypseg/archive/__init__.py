"""Many videos: listed once, predicted exactly once each, on one machine or on many, and summarised.

A module of this room is named for its step: plan, run, status, verify, summary, forget. Nothing here imports PyArrow,
PyAV, fsspec or Ray before it needs them.
"""
