"""A number that says what documents a table holds, whatever order they come in.

Each document adds a hash of its id, its version and its content, so a document that is replaced can be taken away
again. Two replicas hold the same documents if count and sum agree.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import msgspec

from nbreactive.engine.entries import Entry

_MASK = (1 << 128) - 1


class Fingerprint(msgspec.Struct):
    """Of the documents of one table."""

    documents: int = 0
    sum: int = 0

    def add(self, hashed: int) -> None:
        """Add a document."""
        self.documents += 1
        self.sum = self.sum + hashed & _MASK

    def remove(self, hashed: int) -> None:
        """Take a document away that was added."""
        self.documents -= 1
        self.sum = self.sum - hashed & _MASK

    def text(self) -> str:
        """Return it as text, for files and people."""
        return f"{self.sum:032x}"


Fingerprints = dict[int, Fingerprint]
"""By table number; tables without documents are left out."""


def hash_document(id: bytes, ts: int, doc: bytes) -> int:
    """Return what a version of a document adds."""
    return int.from_bytes(hashlib.blake2b(id + ts.to_bytes(8, "big") + doc, digest_size=16).digest(), "big")


def texts(prints: Fingerprints) -> dict[int, tuple[int, str]]:
    """Return count and text per table, of those that hold documents."""
    return {table: (found.documents, found.text()) for table, found in sorted(prints.items()) if found.documents}


def of_documents(documents: Iterable[tuple[int, bytes, int, bytes]]) -> Fingerprints:
    """Return the fingerprints of documents: table number, id, version, packed content."""
    prints: Fingerprints = {}
    for table, id, ts, doc in documents:
        prints.setdefault(table, Fingerprint()).add(hash_document(id, ts, doc))
    return prints


class Fold:
    """The state that the entries of a log lead to, as fingerprints; it remembers a few bytes per document."""

    def __init__(self) -> None:
        self.prints: Fingerprints = {}
        self._documents: dict[tuple[int, bytes], tuple[int, int]] = {}

    def entry(self, entry: Entry) -> None:
        """Apply one commit."""
        for write in entry.writes:
            found = self.prints.get(write.table)
            if found is None:
                found = self.prints[write.table] = Fingerprint()
            key = (write.table, write.id)
            before = self._documents.pop(key, None)
            if before is not None:
                found.remove(before[0])
            if write.doc is not None:
                hashed = hash_document(write.id, entry.ts, write.doc)
                self._documents[key] = (hashed, entry.ts)
                found.add(hashed)

    def complete(self, entry: Entry) -> Entry:
        """Return a commit that names the versions which it replaces as they are here, where others were dropped."""
        writes = [
            msgspec.structs.replace(write, previous=self._documents.get((write.table, write.id), (0, 0))[1])
            for write in entry.writes
        ]
        return msgspec.structs.replace(entry, writes=writes)
