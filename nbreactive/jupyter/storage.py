"""Stored files at the server's own address: whoever is signed in uploads to signed addresses, and downloads.

The backend's addresses are of this machine only; behind a Jupyter server the same files are below its mount. An upload needs
no XSRF cookie: what that proves, that the page was given something by us, the signature in the address proves as well. The
signature is called ``upload_token`` here, since Jupyter takes a ``token`` for one of its own, and no other is looked at then.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from nbreactive.jupyter.handlers import _DEPLOYMENT, ForwardHandler  # pyright: ignore[reportPrivateUsage] - one pattern

_UPLOAD = "api/storage/upload"
_NAME = "upload_token"


class StorageHandler(ForwardHandler):
    """Uploads and downloads."""

    SUPPORTED_METHODS = FORWARDED = ("GET", "HEAD", "POST")

    def set_default_headers(self) -> None:
        """What somebody has uploaded is no page of this server."""
        super().set_default_headers()
        self.set_header("X-Content-Type-Options", "nosniff")
        self.set_header("Content-Security-Policy", "sandbox")

    def check_xsrf_cookie(self) -> None:
        """The backend looks at the signature instead."""
        if not (self.request.method == "POST" and self.raw_path() == _UPLOAD):
            super().check_xsrf_cookie()

    def target(self, path: str) -> str:
        """Name the signature as the backend does."""
        token = self.get_query_argument(_NAME, None) or self.get_query_argument("token", "")
        return f"/{path}?{urlencode({'token': token})}" if self.raw_path() == _UPLOAD else super().target(path)

    head = ForwardHandler.get  # pyright: ignore[reportAssignmentType]


STORAGE_HANDLERS: list[tuple[str, Any]] = [(rf"{_DEPLOYMENT}(api/storage/.+)", StorageHandler)]
"""To be looked at before the other doors."""
