"""The one door to TensorFlow: models loaded, traced, trained, saved again, compared."""
