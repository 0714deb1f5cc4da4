"""Large transitions, cut into chunks for the clients that put them together again."""

from __future__ import annotations

import secrets

from nbreactive.server import messages as wire


def encode_transition(transition: wire.Transition, most: int | None) -> list[bytes]:
    """Encode a transition as one message; with ``most``, one of more bytes as several."""
    data = wire.encode(transition)
    return [data] if most is None or len(data) <= most else split_transition(data, most)


def split_transition(data: bytes, size: int) -> list[bytes]:
    """Cut the JSON of a transition into ``TransitionChunk`` messages of about ``size`` bytes each."""
    text = data.decode("utf-8")
    pieces = [text[start : start + size] for start in range(0, len(text), size)]
    transition_id = secrets.token_hex(8)
    return [
        wire.encode(
            wire.TransitionChunk(chunk=piece, partNumber=number, totalParts=len(pieces), transitionId=transition_id)
        )
        for number, piece in enumerate(pieces)
    ]
