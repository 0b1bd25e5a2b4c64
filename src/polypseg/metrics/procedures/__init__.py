"""What a whole procedure tells of a detector: frames, false alerts, lesions, curves, the matched threshold.

`tables.Procedures` holds the facts; every other module is functions of it and of a threshold.
docs/explanation/deployment.md defines each figure.
"""
