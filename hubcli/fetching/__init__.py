"""How a fetch is done: options, byte sources by scheme, retries, aliases, lock files, dry runs.

`options` has `FetchOptions`, requests and expected digests; `model_ref.ModelRef` is what a TARGET means;
`byte_sources.register_scheme` maps a scheme to its byte source; `sources.open_source` opens and unpacks
one; `cached` knows what is there already; `lock_file.LockFile` and `peek.dry_run` are what their names
say.
"""
