"""Video in, masks out: frames, smoothing over time, the written video and its table."""
