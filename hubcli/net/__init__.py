"""Byte sources, HTTP first: redirects checked one by one, lengths and checksums verified at the end.

`byte_source.ByteSource` is the interface: name, size, validator, redirects, `read`, `range`.
`http_source.HttpSource` is HTTP; `download.Download` reads any source in parts and resumes it from its
spool. `client`, `connections`, `credentials` and `retries` are HTTP's; `bounds` is the one place that
looks below httpx.
"""
