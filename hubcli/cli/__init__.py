"""The command line: options, tables, progress, completion; one file a command; Typer and rich here alone.

`main.main` is the entry point, and holds what saves time at start; `entrypoint.run` turns failures into
messages and exit statuses; `app.app_of` builds the Typer application; `views/` shows results as text,
tables and JSON.
"""
