"""What is Keras's: models of both generations, their export, and the layer around a SavedModel.

`model.load_keras_model` checks a Keras file before Keras reads it; `export.export_keras` writes a
Reusable SavedModel; `layer` is the layer behind `hubcli.KerasLayer`; `h5_weights` and `source` read the
files.
"""
