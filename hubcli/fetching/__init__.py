"""How a fetch is done: sources, retries, aliases, expected digests, lock files, requirements, dry runs."""
