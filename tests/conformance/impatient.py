"""``nbreactive serve`` with little patience: it says Ping after a fifth of a second without anything else to say."""

from __future__ import annotations

import sys
from functools import partial

from nbreactive.cli import serve
from nbreactive.cli.main import main
from nbreactive.server.limits import Limits, ServerLimits, parse_limits

if __name__ == "__main__":
    serve.parse_limits = partial(parse_limits, limits=Limits(server=ServerLimits(ping_after=0.2)))
    sys.exit(main(sys.argv[1:]))
