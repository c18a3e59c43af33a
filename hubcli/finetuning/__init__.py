"""How a fine-tuned model is made: options, training, weights, result and what it must pass."""
