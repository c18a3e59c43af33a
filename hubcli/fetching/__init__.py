"""How a fetch is done: byte sources by scheme, retries, aliases, versions, lock files, requirements, dry runs."""
