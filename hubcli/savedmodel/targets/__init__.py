"""Compatibility: what releases of TensorFlow and other loaders support, compared with what a model needs."""
