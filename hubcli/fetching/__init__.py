"""How a fetch is done: byte sources by scheme, retries, aliases, expected digests, lock files, dry runs."""
