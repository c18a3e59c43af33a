"""The one door to TensorFlow: models loaded, traced, trained, saved again and compared, in its own runtime."""
