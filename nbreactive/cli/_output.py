"""What a command says: a sentence for people, or JSON."""

from __future__ import annotations

import sys
from typing import Any

import msgspec


def say(as_json: bool, facts: Any, text: str) -> None:
    """Write one or the other to standard output."""
    sys.stdout.write(msgspec.json.encode(facts).decode() + "\n" if as_json else text + "\n")
