"""Shared tiers: verified models that a fleet keeps in a bucket, a directory or on a web server.

Layout, manifest and lease of a tier, what is put into it and collected from it. A tier is never trusted:
what it gives passes every check that an origin's bytes pass.
"""
