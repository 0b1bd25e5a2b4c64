"""A REST API and a web page around a model file."""
