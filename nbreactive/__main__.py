"""``python -m nbreactive`` is ``nbreactive``."""

from __future__ import annotations

import sys

from nbreactive.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
