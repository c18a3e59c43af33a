"""Will it load there? What releases of TensorFlow and other loaders take, held against what a model needs."""
