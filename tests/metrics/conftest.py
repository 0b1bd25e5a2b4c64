"""Hypothesis without a deadline: the first call of OpenCV or scikit-learn takes longer than any later one."""

from hypothesis import settings

settings.register_profile("patient", deadline=None)
settings.load_profile("patient")
