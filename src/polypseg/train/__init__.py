"""Training: losses, coefficients, callbacks that survive a resume, the fit, and the run folder."""
