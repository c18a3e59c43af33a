"""Bytes in, values out: readers of the formats that SavedModels are made of."""
