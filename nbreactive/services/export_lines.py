"""The lines of Convex's exports: one value each, in JSON where an integer is a 64-bit integer, and a float has a dot.

What JSON lacks has the forms of :mod:`nbreactive.values.json`. Our own ``int`` is Convex's number with a mark that its
exports do not have, so it is written as a float; the validator of its table makes it an ``int`` again.
"""

# What is converted comes from anywhere, so its types are not known before.
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import json
import math
from typing import Any

from nbreactive.errors import InvalidValue
from nbreactive.values.json import from_jsonable, to_jsonable
from nbreactive.values.kinds import Int64


def encode_line(value: Any) -> str:
    """Return a checked value as one line.

    Examples
    --------
    >>> encode_line({"n": Int64(5), "x": 5.0, "count": 3, "raw": b"ab"})
    '{"count":3.0,"n":5,"raw":{"$bytes":"YWI="},"x":5.0}'
    """
    return json.dumps(_to_export(value), ensure_ascii=False, separators=(",", ":"), sort_keys=True)


def decode_line(line: str, where: str = "", *, integers: bool = True) -> Any:
    """Return the value of one line.

    Parameters
    ----------
    line
        JSON.
    where
        How messages call it.
    integers
        Whether a number without a dot is a 64-bit integer, as in Convex's exports; else it is a plain number.

    Examples
    --------
    >>> decode_line('{"n": 5, "x": 5.0}'), decode_line('{"n": 5}', integers=False)
    ({'n': Int64(5), 'x': 5.0}, {'n': 5})
    """
    found = read_json(line, where, "a line of JSON")
    return from_jsonable(_from_export(found) if integers else found, where)


def read_json(text: str, where: str, what: str = "JSON") -> Any:
    """Return what JSON says, if it can be kept as it stands there: no key twice, no number that is beyond floats.

    Examples
    --------
    >>> read_json('{"n": 5}', "a.json")
    {'n': 5}
    """
    try:
        return json.loads(text, object_pairs_hook=_pairs, parse_constant=_no_constant, parse_float=_finite)
    except (ValueError, RecursionError) as error:
        raise InvalidValue(f"not {what} ({error})", where) from None


def _to_export(value: Any) -> Any:
    kind = type(value)
    if kind is dict:
        return {key: _to_export(item) for key, item in value.items()}
    if kind is list:
        return [_to_export(item) for item in value]
    if kind is float and math.isfinite(value):
        return value  # -0.0 has a dot, and its sign
    if kind is int:
        return float(value)
    return int(value) if isinstance(value, Int64) else to_jsonable(value)


def _from_export(value: Any) -> Any:
    kind = type(value)
    if kind is dict:
        return {key: _from_export(item) for key, item in value.items()}
    if kind is list:
        return [_from_export(item) for item in value]
    if kind is int:
        if not -(2**63) <= value < 2**63:
            raise InvalidValue(f"{value} is beyond 64 bits; a number that is not an integer has a dot")
        return to_jsonable(Int64(value))
    return value


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key is there twice")
    return found


def _no_constant(text: str) -> Any:
    raise ValueError(f"{text} is not JSON")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:40]} is beyond the largest number, about 1.8e308")
    return number
