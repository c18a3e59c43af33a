"""The checks of `hubcli doctor`, one file a subject: each takes a context and gives what it found."""
