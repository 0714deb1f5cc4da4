"""Cursors: places in the order of one query, sealed.

A cursor holds the index key of the last row of a page, or that there is none behind it, and the fingerprint of the query. Both leave the
backend only encrypted and signed: index keys hold values of documents, perhaps of such as the reader is never shown,
and whoever could make up a cursor could read on from wherever he likes. Nor does a cursor fit any other query: each
change of table, index, range, order or filter changes the fingerprint. With another key (``cursor.key`` was lost) no cursor opens; a wrong page there
never is.

The signature is the nonce of the encryption, too (a synthetic initialisation vector), so one place always has the same
text: pages that did not change are found to be the same.
"""

from __future__ import annotations

import binascii
import hashlib
import hmac
from typing import Final

from nbreactive.errors import InvalidCursor

KEY_BYTES: Final = 32
FINGERPRINT_BYTES: Final = 16
THE_END = b""
"""The place behind all rows, those to come included; all others are index keys, which are never empty."""

CURSOR: Final = b"\x01"
JOURNAL: Final = b"\x02"
"""What a seal is on, so that one is not taken for the other."""

_TAG: Final = 16
_ENTRIES: Final = 64
"""Pages of one call that a journal knows of."""
_TO_URL: Final = bytes.maketrans(b"+/", b"-_")
_FROM_URL: Final = bytes.maketrans(b"-_", b"+/")


class Seal:
    """Closes places and opens them again.

    Parameters
    ----------
    key
        Of the deployment; see :func:`nbreactive.server.data_folder.cursor_key`.

    Examples
    --------
    >>> seal, fingerprint = Seal(bytes(32)), bytes(16)
    >>> text = seal.close(CURSOR, fingerprint, b"where")
    >>> seal.open(CURSOR, fingerprint, text)
    b'where'
    >>> print(seal.open(JOURNAL, fingerprint, text), seal.open(CURSOR, b"of another query", text))
    None None
    """

    __slots__ = ("_hiding", "_signing")

    def __init__(self, key: bytes) -> None:
        self._signing = hmac.digest(key, b"cursors: sign", "sha256")
        self._hiding = hmac.digest(key, b"cursors: hide", "sha256")

    def close(self, what: bytes, fingerprint: bytes, place: bytes) -> str:
        """Return the text that stands for a place."""
        content = what + fingerprint + place
        tag = hmac.digest(self._signing, content, "sha256")[:_TAG]
        raw = binascii.b2a_base64(tag + self._veil(tag, content), newline=False)
        return raw.rstrip(b"=").translate(_TO_URL).decode()

    def open(self, what: bytes, fingerprint: bytes, text: str) -> bytes | None:
        """Return the place of which ``close`` made the text, with the same key for the same; else None."""
        try:
            raw = binascii.a2b_base64(text.encode("ascii").translate(_FROM_URL) + b"=" * (-len(text) % 4))
        except ValueError:
            return None
        content = self._veil(raw[:_TAG], raw[_TAG:])
        place = content[1 + FINGERPRINT_BYTES :]
        good = self.close(what, fingerprint, place)
        return place if hmac.compare_digest(good.encode(), text.encode()) else None

    def _veil(self, tag: bytes, data: bytes) -> bytes:
        """Hide or show: the same step twice changes nothing."""
        stream = hashlib.shake_256(self._hiding + tag).digest(len(data))
        return (int.from_bytes(data, "big") ^ int.from_bytes(stream, "big")).to_bytes(len(data), "big")


class Pages:
    """What the pages of one call need to know: the seal of cursors, and where pages ended in the run before.

    Parameters
    ----------
    seal
        Of the deployment.
    journal
        Of the run before, or what a client says that it is; what does not fit is ignored.
    """

    __slots__ = ("_before", "_ends", "paginated", "seal")

    def __init__(self, seal: Seal, journal: str | None) -> None:
        self.seal = seal
        self._before = journal.split(",", _ENTRIES)[:_ENTRIES] if journal else []
        self._ends: list[str] = []
        self.paginated = False
        """Whether the running function has read a page; those that it calls may read one each."""

    def place(self, cursor: str, fingerprint: bytes) -> bytes:
        """Return the place that a cursor stands for."""
        place = self.seal.open(CURSOR, fingerprint, cursor)
        if place is None:
            raise InvalidCursor
        return place

    def end_before(self, page: bytes) -> bytes | None:
        """Return where a page (a fingerprint) ended in the run before, if there was one."""
        for text in self._before:
            end = self.seal.open(JOURNAL, page, text)
            if end is not None:
                self._before.remove(text)  # the next one who reads the same page has an entry of his own
                return end
        return None

    def note_end(self, page: bytes, end: bytes) -> None:
        """Note where a page has ended in this run."""
        if len(self._ends) < _ENTRIES:
            self._ends.append(self.seal.close(JOURNAL, page, end))

    def journal(self) -> str | None:
        """Return what the next run has to know."""
        return ",".join(self._ends) or None
