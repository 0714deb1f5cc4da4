"""Cuts JSON text that is nested too deeply for a decoder, so that one value of a message cannot cost the whole message.

The JSON decoder gives up near a thousand levels without saying where. Here everything below a depth that no valid call
reaches is taken out, without recursion and in one pass; then the message decodes, and the check of values refuses the one
call whose arguments are still too deep. The work is bounded: text with more brackets than that is nobody's mistake.
"""

from __future__ import annotations

import re
from typing import Final

from nbreactive.values.limits import VALUE_NESTING

KEPT_LEVELS: Final = VALUE_NESTING + 16
"""More than the levels of a message around a value and a valid value together."""
_MOST_BRACKETS: Final = 1 << 18

# Possessive, and a string may lack its end: each character is looked at once, whatever the text is.
_TOKEN: Final = re.compile(r'"(?:[^"\\]++|\\.?)*+(?:"|\Z)|[\[{]|[\]}]', re.DOTALL)


def cut_nesting(text: str) -> str:
    """Leave out what is nested deeper than ``KEPT_LEVELS``; raises RecursionError if there is too much to look at.

    Examples
    --------
    >>> cut_nesting('{"a": "[", "b": ' + "[" * 1000 + "]" * 1000 + "}").count("[")
    81
    """
    kept: list[str] = []
    depth = start = 0
    for number, token in enumerate(_TOKEN.finditer(text)):
        if number > _MOST_BRACKETS:
            raise RecursionError("nested far too deeply")
        kind = token[0]
        if kind in ("[", "{"):
            depth += 1
            if depth == KEPT_LEVELS + 1:
                kept.append(text[start : token.end()])
        elif kind in ("]", "}"):
            if depth == KEPT_LEVELS + 1:
                start = token.start()
            depth -= 1
    if depth <= KEPT_LEVELS:
        kept.append(text[start:])
    return "".join(kept)
