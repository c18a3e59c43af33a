"""How a model is run: what can be called, inputs of any kind, batches, outputs; the model runs in `tf`."""
