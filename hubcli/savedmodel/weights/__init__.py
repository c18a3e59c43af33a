"""Values for variables: where they come from, how they are matched, and the rewrite of a model with them.

`sources.open_weights` opens checkpoints, SavedModels, .npz, .safetensors and Keras files;
`mapping.map_weights` maps their values to variables by name, graph or order; `rewrite.rewrite` writes a
model with them.
"""
