"""Two SavedModels side by side: differences, what is preserved, how values changed."""
