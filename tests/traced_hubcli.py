"""hubcli in a process that is traced: downloads are spooled as if they took long, small ones too."""

from __future__ import annotations

import sys

from hubcli.cli.main import main
from hubcli.net import download, retries

if __name__ == "__main__":
    download.QUICK_S, retries.FIRST_WAIT_S = 0.0, 0.001
    vars(download)["MIN_SEGMENTED_BYTES"] = 1 << 16
    sys.exit(main(sys.argv[1:]))
