"""From saved results to pictures and pages: nothing here trains, predicts or needs a training framework."""
