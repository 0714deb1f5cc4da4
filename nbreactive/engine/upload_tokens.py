"""What an upload's address is signed with: leave to store one file, once, within an hour.

A token names the document that the upload makes, so that a second upload with it finds that the document was made, and no
list of used tokens is kept. It is signed for one deployment, one method and one purpose, with a key that no client sees.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from typing import Final

import msgspec

from nbreactive.errors import Refused

UPLOAD_SECONDS: Final = 3600
_PURPOSE: Final = b"POST /api/storage/upload\0"
_TAG: Final = hashlib.sha256().digest_size
_LONGEST: Final = 1024


class UploadToken(msgspec.Struct, frozen=True, array_like=True):
    """What may be uploaded."""

    id: bytes
    """The internal id that the document will have: random, and used once."""
    expires: int
    """Milliseconds since the epoch."""
    max_size: int | None = None
    content_type: str | None = None
    """``image/png``, or ``image/*``; None: any."""


def upload_key(secret: bytes) -> bytes:
    """Return the key for the tokens of a deployment whose data folder has this secret."""
    return hmac.digest(secret, b"files: upload", "sha256")


def sign_upload(key: bytes, deployment: str, token: UploadToken) -> str:
    """Return the text of a token.

    Examples
    --------
    >>> token = UploadToken(bytes(16), 2000)
    >>> open_upload(b"key", "default", sign_upload(b"key", "default", token), 1000) == token
    True
    """
    content = msgspec.msgpack.encode(token)
    return base64.urlsafe_b64encode(content + _tag(key, deployment, content)).rstrip(b"=").decode()


def open_upload(key: bytes, deployment: str, text: str, now: int) -> UploadToken:
    """Return what a text stands for; raises Refused if it was not signed here, or is over its time (``now``, ms)."""
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), b"-_", validate=True) if len(text) <= _LONGEST else b""
    except (binascii.Error, ValueError):
        raw = b""
    content, tag = raw[:-_TAG], raw[-_TAG:]
    if not content or not hmac.compare_digest(tag, _tag(key, deployment, content)):
        raise Refused("this upload address is not one of this deployment; ask for a new one")
    token = msgspec.msgpack.decode(content, type=UploadToken)
    if now >= token.expires:
        raise Refused("this upload address has expired; ask for a new one")
    return token


def fits_type(wanted: str | None, given: str | None) -> bool:
    """Tell whether a content type is the one that was signed.

    Examples
    --------
    >>> fits_type("image/*", "image/png"), fits_type("text/plain", "text/plain; charset=utf-8"), fits_type("image/*", None)
    (True, True, False)
    """
    if wanted is None:
        return True
    kind = (given or "").partition(";")[0].strip().lower()
    wanted = wanted.partition(";")[0].strip().lower()
    return kind.startswith(wanted[:-1]) and "/" in kind if wanted.endswith("/*") else kind == wanted


def _tag(key: bytes, deployment: str, content: bytes) -> bytes:
    return hmac.digest(key, _PURPOSE + deployment.encode() + b"\0" + content, "sha256")
