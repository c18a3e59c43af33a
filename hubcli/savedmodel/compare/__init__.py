"""Two SavedModels side by side: differences, what is preserved, how values changed.

`diff.compare` gives the differences of two models, `diff.largest_change` the change of values;
`preservation.verify_interface_preserved` checks that a model saved again lost no calls, variables or
files.
"""
