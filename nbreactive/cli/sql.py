"""``nbreactive sql``: a SELECT over the tables of a deployment, once or live."""

# pyarrow has no stubs: what comes out of it is unknown to the checker
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

import argparse
import json
import sys
import threading
from typing import Any

from nbreactive.cli._place import Door, add_place, served
from nbreactive.cli.functions import read_args
from nbreactive.cli.looking import show
from nbreactive.client import connect
from nbreactive.functions.references import reference
from nbreactive.values.json import to_jsonable

_LIVE = "_system/sql:live"
_EXPLAIN = "_system/sql:explain"


def add_command(commands: Any) -> None:
    """Add the command to a parser."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "sql",
        help="run a SELECT over the tables, once or live",
        description="Run one SELECT (DuckDB's SQL) over the tables of a deployment and write its rows.",
    )
    parser.add_argument(
        "sql", metavar="SELECT", help='e.g. "SELECT city, count(*) AS n FROM orders GROUP BY city"; - reads it'
    )
    parser.add_argument("params", nargs="*", metavar="NAME=VALUE", help="values of its $name (what is no JSON is text)")
    parser.add_argument("--live", action="store_true", help="go on: write the result whenever it changes")
    parser.add_argument("--as-of", metavar="TIME", help="as of an earlier time: 2026-11-01 12:00 (UTC)")
    parser.add_argument("--explain", action="store_true", help="say how its live result is kept up to date, and why so")
    parser.add_argument("--json", action="store_true", help="JSON: a list of rows; with --live one line per result")
    add_place(parser)
    parser.set_defaults(run=run_sql)


def run_sql(options: argparse.Namespace) -> int:
    """Run the command."""
    text = sys.stdin.read() if options.sql == "-" else options.sql
    params = read_args(options.params)
    with served(options.at, options.admin_key) as door:
        if options.explain:
            _explain(door, text, params)
        elif options.live:
            _follow(door, text, params, "jsonl" if options.json else "table")
        else:
            body = {"sql": text, "params": to_jsonable(params)} | ({"at": options.as_of} if options.as_of else {})
            show(_fetch(door, body), "json" if options.json else "table")
    return 0


def _fetch(door: Door, body: dict[str, Any]) -> list[dict[str, Any]]:
    import pyarrow as pa  # a fifth of a second, which other commands need not wait

    with door.open("/api/sql/arrow", json.dumps(body).encode(), "application/json") as answer:
        rows = pa.ipc.open_stream(answer.read()).read_all().to_pylist()
    return [{name: _plain(value) for name, value in row.items()} for row in rows]


def _plain(value: Any) -> Any:
    """Return a value of a row as JSON has it; what that does not know is text."""
    if isinstance(value, dict):
        return {str(name): _plain(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_plain(part) for part in value]
    return value if value is None or isinstance(value, str | int | float | bool) else str(value)


def _follow(door: Door, text: str, params: dict[str, Any], how: str) -> None:
    """Write each result, until interrupted."""

    def write(result: dict[str, Any]) -> None:
        names = [column["name"] for column in result["columns"]]
        rows = [dict(zip(names, row, strict=True)) for row in result["rows"]]
        if how == "jsonl":
            sys.stdout.write(json.dumps(to_jsonable(rows), ensure_ascii=False) + "\n")
        else:
            show(rows, how)
            sys.stdout.write("\n" if result["complete"] else f"... {result['total']:,} rows in all\n\n")
        sys.stdout.flush()

    with connect(door.url, admin_key=door.key) as client:
        known = client.call(reference("_system/sql:register"), {"sql": text}, mutation=True)
        live = client.live(reference(_LIVE), {"hash": known, "params": params})
        live.observe(lambda change: write(change["new"]), "value")
        write(live.value)
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            live.close()


def _explain(door: Door, text: str, params: dict[str, Any]) -> None:
    with connect(door.url, admin_key=door.key) as client:
        said = client.call(reference(_EXPLAIN), {"sql": text, "params": params})
    sys.stdout.write(json.dumps(to_jsonable(said), ensure_ascii=False, indent=2) + "\n")
