"""The checks of `hubcli doctor`, one file a subject: each takes a context and gives what it found.

`context.DiagnosisContext` is what a check takes, `context.Check` what it gives: a section, an issue and a
value.
"""
