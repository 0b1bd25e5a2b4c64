"""From an image of any size and a model to a probability map at the image's own size."""
