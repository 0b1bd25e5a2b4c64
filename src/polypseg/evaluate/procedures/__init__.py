"""From videos or saved results to the deployment report: references, findings, figures."""
