"""How a fetch is done: options, byte sources by scheme, retries, aliases, lock files, dry runs."""
