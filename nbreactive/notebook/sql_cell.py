"""``%%reactive sql``: a cell of SQL whose result is live, with parameters from the notebook."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from typing import Any

from nbreactive.client.client import Client
from nbreactive.client.live_frame import Explanation, LiveFrame
from nbreactive.client.statement import parameters_of, to_explain
from nbreactive.errors import ArgumentError, NBReactiveError

USAGE = "%%reactive sql [NAME <<] [--once]"
_LINE = re.compile(r"\A\s*(?:(?P<name>\S+?)\s*<<)?\s*(?P<once>--once)?\s*\Z")
_NO_TABLE = re.compile(r"\Athere is no table '(?P<name>[^']+)' in SQL")
_FILE = re.compile(r"\.(parquet|csv|arrow|feather|json)(\.gz)?\Z|[*/]", re.IGNORECASE)
_OF_IPYTHON = frozenset({"In", "Out", "open", "exit", "quit", "get_ipython"})
_PLACE = re.compile(r"\bLINE (\d+):")


def run(client: Client, line: str, cell: str, namespace: Mapping[str, Any]) -> tuple[str, LiveFrame | Explanation]:
    """Run a cell of SQL; returns the name that its result is to have ('' for none), and the result.

    What comes behind ``EXPLAIN LIVE`` is explained instead.
    """
    given = _LINE.match(line)
    if given is None:
        raise ArgumentError(f"Usage: {USAGE}")
    name = given["name"] or ""
    if name and not name.isidentifier():
        raise ArgumentError(f"{name!r} cannot be the name of a variable. Usage: {USAGE}")
    if not cell.strip():
        raise ArgumentError(f"The cell has no statement: write SELECT ... below {USAGE}.")
    values = {parameter: _variable(parameter, namespace, cell) for parameter in parameters_of(cell)}
    explained = to_explain(cell)
    try:
        if explained is not None:
            return name, LiveFrame.explained(client, explained, values)
        return name, LiveFrame.open(client, cell, values, title=name, once=bool(given["once"]))
    except NBReactiveError as failure:
        raise _in_cell(failure, cell, namespace) from None


def _variable(name: str, namespace: Mapping[str, Any], cell: str) -> Any:
    if name in namespace:
        return namespace[name]
    at = next(number for number, text in enumerate(cell.splitlines(), 2) if f"${name}" in text)
    own = [known for known in namespace if not known.startswith("_") and known not in _OF_IPYTHON]
    near = difflib.get_close_matches(name, own, 1)
    hint = f" Did you mean ${near[0]}?" if near else ""
    raise ArgumentError(
        f"${name} (line {at} of the cell) is the parameter of a variable {name!r}, which this notebook does not have."
        f"{hint or f' Define it first: {name} = ..., or a widget.'}"
    )


def _in_cell(failure: NBReactiveError, cell: str, namespace: Mapping[str, Any]) -> NBReactiveError:
    """Say where in the cell a statement is wrong: the magic is its first line, and blank lines count.

    What bare DuckDB would have read from this process, a frame or a file, has to be a table first.
    """
    text = failure.message
    missing = _NO_TABLE.match(text)
    if missing is not None:
        name = missing["name"]
        data = repr(name) if _FILE.search(name) else name if _is_frame(namespace.get(name)) else ""
        if data:
            hint = f"SQL runs on the server and sees tables only; nbreactive.load('some_name', {data}) makes one of it."
            failure.args = (f"{text.rstrip('.')}. {hint}", *failure.args[1:])
    found = _PLACE.search(text)
    if found is not None:
        before = cell[: len(cell) - len(cell.lstrip())].count("\n")
        failure.args = (f"{text.rstrip()}\n(line {int(found[1]) + before + 1} of the cell)", *failure.args[1:])
    return failure.with_traceback(None)


def _is_frame(value: Any) -> bool:
    return hasattr(value, "__arrow_c_stream__") or hasattr(value, "__dataframe__")
