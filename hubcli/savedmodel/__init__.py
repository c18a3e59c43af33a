"""What is in a SavedModel: functions, signatures, variables, objects, graph; read without TensorFlow.

`reader.read_model` gives a `model.SavedModelInfo` of a directory: signatures, functions and their traces,
variables, objects, graph, assets. `layout.detect_format` and `layout.check_structure` say what it is and
whether it is complete.
"""
