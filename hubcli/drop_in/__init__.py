"""What stands in for tensorflow_hub: `resolve`, `load`, `KerasLayer`, with its errors."""
