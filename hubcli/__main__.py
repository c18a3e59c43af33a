"""`python -m hubcli`."""

from __future__ import annotations

from hubcli.cli.main import run_and_exit

run_and_exit()
