"""What Convex's command line asks of a server beside functions: an echo for its network test, and what cannot be had here.

It takes an address that does not exist for a server that is still starting, and asks again for half a minute. So what
cannot work is refused in words, which it prints.
"""

from __future__ import annotations

from typing import Any

from nbreactive.errors import ProtocolError
from nbreactive.server._handler import SiteHandler
from nbreactive.server.site import Site

_PYTHON = "functions here are Python: deploy them with `nbreactive deploy`, or save them into the functions folder"
_COPIES = "use `nbreactive export` and `nbreactive import`, which read and write the same ZIP files"
_REASONS = {
    r"/api/run_test_function": "an inline query is JavaScript, and queries here are Python: deploy it as a function, and run that",
    r"/api/(?:deploy2/.*|get_config_hashes|shapes2|v1/get_canonical_urls)": _PYTHON,
    r"/api/(?:export/.*|import/.*|perform_import)": _COPIES,
}


class EchoHandler(SiteHandler):
    """``POST /echo``."""

    def post(self) -> None:
        """Give the body back."""
        self.set_header("Content-Type", "application/octet-stream")
        self.finish(self.request.body)


class NotHereHandler(SiteHandler):
    """An address of Convex that nbreactive does not serve."""

    def initialize(self, site: Site, reason: str) -> None:  # type: ignore[override]
        """Take the reason."""
        super().initialize(site)
        self._reason_in_words = reason

    def get(self) -> None:
        """Say why not."""
        raise ProtocolError(self._reason_in_words)

    post = get


def routes(shared: dict[str, Any]) -> list[Any]:
    """Routes for the application."""
    refused = [(pattern, NotHereHandler, shared | {"reason": reason}) for pattern, reason in _REASONS.items()]
    return [(r"/echo", EchoHandler, shared), *refused]
