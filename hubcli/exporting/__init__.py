"""How an export is written: destination, staging directory, placement."""
