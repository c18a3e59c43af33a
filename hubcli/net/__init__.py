"""Byte sources, HTTP first: redirects checked one by one, lengths and checksums verified at the end."""
