"""Metrics of a prediction against its reference, in NumPy, SciPy and OpenCV: no framework, no file, no plot.

Read one metric from its module (`from polypseg.metrics.overlap import dice`), or all of an image at once
with `polypseg.metrics.table.score_image`. docs/explanation/metrics.md says what each number means and who publishes it.
"""
