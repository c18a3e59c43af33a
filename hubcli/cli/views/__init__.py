"""How the nouns are shown: text, tables and JSON documents; no command runs here.

Each function takes what a verb of `hubcli.commands` returned, and gives lines or a dict for `--json`.
"""
