"""The command line: signatures, views of the nouns, rendering, progress."""
