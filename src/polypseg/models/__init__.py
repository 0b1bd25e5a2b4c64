"""From a config to a Keras model: blocks, the networks, the registry of their names, loading and drawing."""
