"""What a call brings along: the path of a function and its arguments, as they came from outside."""

from __future__ import annotations

from typing import Any

from msgspec import Raw

from nbreactive.errors import ArgumentError, FunctionNotFound, InvalidValue, NBReactiveError
from nbreactive.functions.references import canonical_path
from nbreactive.values.checks import check_value
from nbreactive.values.json import decode_json
from nbreactive.values.limits import ARGS_SIZE, ARRAY_ITEMS, exceed
from nbreactive.values.packing import pack

_LONGEST_PATH = 300


def not_found(path: str) -> FunctionNotFound:
    """The error for a function that is absent or hidden; the two must not be told apart."""
    return FunctionNotFound(
        f"Could not find public function for {path[:_LONGEST_PATH]!a}. Did you forget to deploy it?"
    )


def path_of(path: str, component: str | None) -> str:
    """Return the canonical path of a function; FunctionNotFound if it cannot be one."""
    if component or len(path) > _LONGEST_PATH:
        raise not_found(path)
    try:
        return canonical_path(path)
    except (NBReactiveError, ValueError):
        raise not_found(path) from None


def args_of(raw: Raw | bytes) -> bytes:
    """Return the arguments of a call, packed; they come as JSON: an object, or an array of one."""
    data = bytes(raw)
    try:
        args: Any = decode_json(data, "args")
    except InvalidValue as error:
        raise ArgumentError(error.message) from None
    except RecursionError:
        raise ArgumentError("nested too deeply", "args") from None
    if isinstance(args, list):
        if len(args) > 1:
            raise ArgumentError(f"functions take one object with named arguments, not {len(args)} values", "args")
        args = args[0] if args else {}
    if not isinstance(args, dict):
        raise ArgumentError("functions take one object with named arguments", "args")
    if len(data) > ARRAY_ITEMS:  # only then can an array be longer than that, which decoding allows for results
        args = check_value(args, "args")
    packed = pack(args)
    if len(packed) > ARGS_SIZE:
        exceed("bytes of arguments", len(packed), ARGS_SIZE, "pass less at once", "args")
    return packed
