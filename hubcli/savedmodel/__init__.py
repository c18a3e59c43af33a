"""What a directory must hold to be a SavedModel, and which kind it is."""
