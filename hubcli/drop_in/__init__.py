"""The drop-in replacement of tensorflow_hub: `resolve`, `load`, `KerasLayer`, with its errors.

`load.load` and `load.resolve` raise the errors that programs catch around tensorflow_hub, too;
`keras_layer.KerasLayer` imports Keras, and so stands apart.
"""
