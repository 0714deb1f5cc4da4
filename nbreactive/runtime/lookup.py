"""The functions of a program by name: which of them a caller may see, and what is said of the others."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any, Final

from nbreactive.engine.transactions import Call
from nbreactive.errors import FunctionNotFound, InvalidValue, LimitExceeded, NotAllowed, ReturnsError
from nbreactive.functions import Function, Reference, canonical_path
from nbreactive.functions.specs import Kind, Visibility
from nbreactive.runtime._processes import peak_memory
from nbreactive.runtime.query import Query
from nbreactive.values._checkers import TableOf
from nbreactive.values._paths import with_article
from nbreactive.values.checks import check_value
from nbreactive.values.kinds import UNSET
from nbreactive.values.limits import RESULT_ITEMS, RESULT_SIZE, over
from nbreactive.values.sizes import size_of

Functions = Mapping[str, Function]

_REACH: Final[Mapping[Visibility, int]] = {"public": 0, "internal": 1, "system": 2}
_LARGE: Final = 400 << 20


def find(functions: Functions, call: Call) -> tuple[str, Function]:
    """Find what a call names, if it may.

    Raises
    ------
    FunctionNotFound
        There is none, it is hidden from this caller (the two look the same), or it is of another kind.
    """
    path = canonical_path(call.path)
    function = functions.get(path)
    reach = _REACH[call.reach]
    if function is None or _REACH[function.visibility] > reach:
        # The two look the same, so that nobody learns what is there.
        raise _unknown(functions, call.path, reach)
    if call.kind is not None and call.kind != function.kind:
        asked, found = with_article(call.kind), with_article(function.kind)
        raise FunctionNotFound(f"Trying to run {path!r} as {asked}, but it is {found}")
    return path, function


def resolve(functions: Functions, target: Any, *kinds: Kind, said: str) -> tuple[str, Function]:
    """Find what a function names that calls another one; ``said`` is how it did: ``ctx.run_query``."""
    if isinstance(target, (Function, Reference)):
        path = target.path
    elif isinstance(target, str):
        path = canonical_path(target)
    else:
        raise InvalidValue(f"{said} takes a reference such as api.posts.get, not {target!r:.60}")
    function = functions.get(path)
    if function is None or function.visibility == "system":
        raise _unknown(functions, path, 1)
    if function.kind not in kinds:
        raise NotAllowed(f"{path} is {with_article(function.kind)}: use ctx.run_{function.kind}")
    return path, function


def _unknown(functions: Functions, path: str, reach: int) -> FunctionNotFound:
    shown = path if len(path) <= 200 else f"{path[:200]}..."
    visible = [name for name, function in functions.items() if _REACH[function.visibility] <= min(reach, 1)]
    near = difflib.get_close_matches(path[:200], visible, n=3, cutoff=0.6)
    hint = f" There is: {', '.join(near)}." if near else ""
    return FunctionNotFound(f"Could not find public function for {shown!r}. Did you forget to deploy it?{hint}")


def checked_result(function: Function, result: Any, table_of: TableOf) -> Any:
    """Check what a function returned and return it as a plain value."""
    if result is UNSET:
        result = None
    if isinstance(result, Query):
        raise ReturnsError("a query that was not read cannot be returned; add .collect() or .take(n)", "returns")
    if function.returns is not None:
        return function.returns.check(
            result, "returns", error=ReturnsError, table_of=table_of, max_items=RESULT_ITEMS, datetimes=True
        )
    return check_value(result, "returns", datetimes=True, max_items=RESULT_ITEMS)


def refuse_giants(result: Any) -> None:
    """Refuse a result that would not fit into memory when it is encoded.

    msgspec 0.22 ends the process with a segmentation fault then, where a MemoryError would do. Only a process that has
    been large has such results, so no others are measured. Eight times the limit is over it in JSON, whatever it holds.
    """
    if peak_memory() > _LARGE and (size := size_of(result)) > 8 * RESULT_SIZE:
        raise too_long(size)


def too_long(size: int) -> LimitExceeded:
    """Return the error for a result of so many bytes."""
    fix = "return less: take(n), fewer fields"
    return LimitExceeded(over("bytes in a result", size, 2 * RESULT_SIZE, fix), "returns")
