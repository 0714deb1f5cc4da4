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
        found = self.read(what, text)
        return found[1] if found is not None and hmac.compare_digest(found[0], fingerprint) else None

    def read(self, what: bytes, text: str) -> tuple[bytes, bytes] | None:
        """Return fingerprint and place of which ``close`` made the text, with the same key; else None."""
        try:
            raw = binascii.a2b_base64(text.encode("ascii").translate(_FROM_URL) + b"=" * (-len(text) % 4))
        except ValueError:
            return None
        content = self._veil(raw[:_TAG], raw[_TAG:])
        fingerprint, place = content[1 : 1 + FINGERPRINT_BYTES], content[1 + FINGERPRINT_BYTES :]
        good = self.close(what, fingerprint, place)
        return (fingerprint, place) if hmac.compare_digest(good.encode(), text.encode()) else None

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
        Of the run before, or what a client says that it is.
    """

    __slots__ = ("_before", "_ends", "_journal", "paginated", "reader", "seal")

    def __init__(self, seal: Seal, journal: str | None) -> None:
        self.seal = seal
        self._journal = journal
        self._before: dict[bytes, list[bytes]] | None = None
        self._ends: list[str] = []
        self.paginated = False
        """Whether the running function has read a page; those that it calls may read one each."""
        self.reader: tuple[object, ...] = ()
        """The calls that lead from the function that was asked for to the running one: each with path and arguments."""

    def place(self, cursor: str, fingerprint: bytes) -> bytes:
        """Return the place that a cursor stands for."""
        place = self.seal.open(CURSOR, fingerprint, cursor)
        if place is None:
            raise InvalidCursor
        return place

    def end_before(self, fingerprint: bytes, start: bytes | None) -> bytes | None:
        """Return where a page of the running function ended in the run before, if that has read one from ``start`` on.

        Raises
        ------
        InvalidCursor
            It was a page of another query, or nobody knows of what: pages behind it would overlap or leave a gap.
        """
        if self._before is None:
            self._before = self._read_journal()
        found = self._before.get(self._who())
        if not found:
            return None
        entry = found.pop(0)  # the next one who is called like this has an entry of his own
        if entry[:FINGERPRINT_BYTES] != fingerprint:
            raise InvalidCursor(message=_OTHER_QUERY)
        began, end = entry[FINGERPRINT_BYTES : 2 * FINGERPRINT_BYTES], entry[2 * FINGERPRINT_BYTES :]
        return end if began == _short(start) else None

    def note_end(self, fingerprint: bytes, start: bytes | None, end: bytes) -> None:
        """Note where a page of the running function has ended in this run."""
        if len(self._ends) < _ENTRIES:
            self._ends.append(self.seal.close(JOURNAL, self._who(), fingerprint + _short(start) + end))

    def journal(self) -> str | None:
        """Return what the next run has to know."""
        return ",".join(self._ends) or None

    def _who(self) -> bytes:
        return _short(self.reader)

    def _read_journal(self) -> dict[bytes, list[bytes]]:
        entries: dict[bytes, list[bytes]] = {}
        for text in self._journal.split(",", _ENTRIES)[:_ENTRIES] if self._journal else ():
            entry = self.seal.read(JOURNAL, text)
            if entry is None:
                raise InvalidCursor(message=_NO_JOURNAL)
            entries.setdefault(entry[0], []).append(entry[1])
        return entries


_OTHER_QUERY: Final = (
    "InvalidCursor: the journal belongs to this query as it was before its range, order or filter changed;"
    " load the first page again"
)
_NO_JOURNAL: Final = (
    "InvalidCursor: the journal is none of this deployment; load the first page again (without a journal)"
)


def _short(what: object) -> bytes:
    return hashlib.blake2b(repr(what).encode("utf-8", "surrogatepass"), digest_size=FINGERPRINT_BYTES).digest()
