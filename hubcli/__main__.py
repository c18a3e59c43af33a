"""`python -m hubcli`. It ends as Python ends: `runpy` may run it within another program."""

from __future__ import annotations

import sys

from hubcli.cli.main import main

sys.exit(main())
