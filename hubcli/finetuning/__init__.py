"""How a fine-tuned model is made: options, training, weights, acceptance, result."""
