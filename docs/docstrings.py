"""How the reference reads docstrings: roles such as ``:class:`` are for Python's tools, and only their text is shown."""

from __future__ import annotations

import re
from typing import Any

import griffe


class Roles(griffe.Extension):
    """Takes the roles out of every docstring."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Something with a docstring was found."""
        if obj.docstring is not None:
            obj.docstring.value = re.sub(r":\w+:`[~!]?([^`]+)`", r"`\1`", obj.docstring.value)
