"""Hosts of models: how handles are spelled, and what each kind of host means by them."""
