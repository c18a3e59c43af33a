"""The checks of `hubcli doctor`, one file a subject: each takes a case and gives what it found."""
