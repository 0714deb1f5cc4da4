"""Documents as the source of a rebuild gives them."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence

from nbreactive.engine._index_builder import Document, Part


def part(documents: Sequence[Document]) -> Part:
    count = len(documents)
    ends = [sum(len(doc) for *_, doc in documents[:n]) for n in range(count + 1)]
    return Part(
        struct.pack(f"{count}i", *(table for table, *_ in documents)),
        b"".join(id for _, id, _, _ in documents),
        struct.pack(f"{count}q", *(version for _, _, version, _ in documents)),
        struct.pack(f"{count + 1}i", *ends),
        b"".join(doc for *_, doc in documents),
    )


def parts(documents: Sequence[Document], size: int = 70) -> Iterator[Part]:
    for start in range(0, len(documents), size):
        yield part(documents[start : start + size])
