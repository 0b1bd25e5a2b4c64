"""From a folder to batches: catalogue, download, samples, splits, checks, synthetic, augment, batches."""
