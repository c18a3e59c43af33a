"""Checks of a SavedModel: layout, integrity, Reusable SavedModel interface, security scan."""
