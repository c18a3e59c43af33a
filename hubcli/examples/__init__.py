"""The models behind `example://`, packed by tools/make_example.py."""
