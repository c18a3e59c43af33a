"""The command line: options, tables, progress, completion; one file a command; Typer and rich here alone."""
