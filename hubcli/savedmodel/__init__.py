"""What is in a SavedModel: functions, signatures, variables, objects, graph; read without TensorFlow."""
