"""`python -m hubcli`."""

from __future__ import annotations

import sys

from hubcli.cli.main import main

sys.exit(main())
