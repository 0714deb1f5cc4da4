"""What the row index notes about the files of a vector index, which alone says how much of them counts."""

from __future__ import annotations

from typing import Final

import msgspec

FOREVER: Final = (1 << 64) - 1
"""No timestamp: what is until then is still right; what is from then on never was."""


class VectorNote(msgspec.Struct, frozen=True, array_like=True):
    """The files of one vector index."""

    token: str
    """Part of their names: files that are written anew have a new one."""
    dimensions: int
    filters: int
    """How many filter fields there are."""
    rows: int
    """How many rows count."""
    created: int
    """The commit that has begun the index."""
    since: int
    """From which timestamp on every document is in it; :data:`FOREVER`: it is being built."""

    @property
    def complete(self) -> bool:
        """Whether it has every document."""
        return self.since != FOREVER


decode_note = msgspec.msgpack.Decoder(VectorNote).decode
encode_note = msgspec.msgpack.Encoder().encode
