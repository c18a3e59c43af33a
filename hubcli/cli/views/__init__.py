"""How the nouns are shown: text, tables and JSON documents; no command runs here."""
