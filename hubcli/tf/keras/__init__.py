"""What is Keras's: models of both generations, their export, and the layer around a SavedModel."""
