"""The Jupyter server extension: authenticates, authorises, supervises one backend, and passes bytes on to it."""

from __future__ import annotations

from typing import Any


def _jupyter_server_extension_points() -> list[dict[str, Any]]:
    from nbreactive.jupyter.app import NBReactiveApp

    return [{"module": "nbreactive.jupyter", "app": NBReactiveApp}]
