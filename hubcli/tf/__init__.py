"""The one door to TensorFlow: models loaded, trained, saved again and compared, in its own runtime."""
