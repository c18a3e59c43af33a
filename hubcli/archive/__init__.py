"""Archives as streams: told apart by magic bytes, walked strictly, unpacked in one pass."""
