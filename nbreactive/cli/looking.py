"""``nbreactive data``, ``logs`` and ``env``: looking into a deployment, and setting its variables."""

from __future__ import annotations

import argparse
import getpass
import json
import sys
from difflib import get_close_matches
from typing import Any
from urllib.parse import urlencode

import msgspec

from nbreactive.cli._output import say
from nbreactive.cli._place import Door, add_place, served
from nbreactive.errors import InvalidValue
from nbreactive.notebook.logs_view import lines_of
from nbreactive.values.json import decode_json, to_jsonable

_WAIT = 20
"""Seconds of one long poll."""
_WIDEST = 40


def add_commands(commands: Any) -> None:
    """Add the commands to a parser."""
    parser: argparse.ArgumentParser = commands.add_parser("data", help="list the tables, or the documents of one")
    parser.add_argument("table", nargs="?", metavar="TABLE", help="without it: all tables with their sizes")
    parser.add_argument("--limit", type=int, default=100, metavar="N", help="documents at most (default: 100)")
    parser.add_argument("--order", choices=("asc", "desc"), default="desc", help="by creation (default: desc)")
    parser.add_argument("--format", choices=("table", "json", "jsonl"), default="table")
    add_place(parser)
    parser.set_defaults(run=run_data)

    parser = commands.add_parser("logs", help="the last calls, and those to come")
    parser.add_argument("--follow", "-f", action="store_true", help="go on until interrupted")
    parser.add_argument("--function", metavar="NAME", help="of one function (chat:send) or module (chat)")
    parser.add_argument("--errors", action="store_true", help="only calls that failed")
    parser.add_argument("-n", type=int, default=50, metavar="N", help="past calls (default: 50)")
    parser.add_argument("--json", action="store_true", help="one JSON object per call")
    add_place(parser)
    parser.set_defaults(run=run_logs)

    parser = commands.add_parser("env", help="list, read, set and remove environment variables")
    parser.set_defaults(run=run_env, action="list")
    add_place(parser)
    actions = parser.add_subparsers(metavar="ACTION", help="without one: list")
    for name, text in (("list", "all names and values"), ("get", "one value"), ("remove", "remove one")):
        action = actions.add_parser(name, help=text)
        if name != "list":
            action.add_argument("name", metavar="NAME")
        add_place(action, inner=True)
        action.set_defaults(run=run_env, action=name)
    action = actions.add_parser("set", help="set one; without a value it is read from standard input, unseen")
    action.add_argument("name", metavar="NAME[=VALUE]")
    action.add_argument("value", nargs="?", metavar="VALUE")
    add_place(action, inner=True)
    action.set_defaults(run=run_env, action="set")


# ---- data ------------------------------------------------------------------------------------------------------------


def run_data(options: argparse.Namespace) -> int:
    """Run the command ``data``."""
    with served(options.at, options.admin_key) as door:
        if options.table is None:
            tables = [
                {
                    "table": one["name"],
                    "documents": one.get("count", one.get("rows", 0)),
                    "module": one.get("module", ""),
                }
                for one in _system(door, "list")
            ]
            show(tables, options.format)
            return 0
        args = {"table": options.table, "limit": options.limit, "order": options.order}
        rows = _system(door, "rows", args)
        if not rows and not options.table.startswith("_"):  # those of the system always are
            _check_table(door, options.table)
        show(rows, options.format)
    return 0


def _check_table(door: Door, name: str) -> None:
    names = [one["name"] for one in _system(door, "list")]
    if name in names:
        return
    near = get_close_matches(name, names, 3) or names
    raise InvalidValue(
        f"there is no table {name!r:.100}; {'there is ' + ', '.join(near) if near else 'there are none yet'}"
    )


def _system(door: Door, name: str, args: dict[str, Any] | None = None) -> list[dict[str, Any]]:
    body = {"path": f"_system/tables:{name}", "args": [args or {}], "format": "convex_encoded_json"}
    said = door.ask("/api/function", body)
    if said["status"] != "success":
        raise InvalidValue(said["errorMessage"].partition("Server Error\n")[2].strip() or said["errorMessage"])
    return decode_json(msgspec.json.encode(said["value"]))


def show(rows: list[dict[str, Any]], how: str) -> None:
    """Write rows to standard output."""
    rows = [to_jsonable(row) for row in rows]
    out = sys.stdout
    if how == "json":
        out.write(json.dumps(rows, ensure_ascii=False, indent=2) + "\n")
    elif how == "jsonl":
        out.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    elif not rows:
        out.write("nothing\n")
    else:
        columns = list(dict.fromkeys(name for row in rows for name in row))
        cells = [[_cell(row.get(name, "")) for name in columns] for row in rows]
        widths = [min(_WIDEST, max(len(line[i]) for line in [columns, *cells])) for i in range(len(columns))]
        for line in [columns, ["-" * width for width in widths], *cells]:
            out.write(
                "  ".join(_cut(text, width).ljust(width) for text, width in zip(line, widths, strict=True)).rstrip()
            )
            out.write("\n")


def _cell(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return "".join(sign if sign.isprintable() else " " for sign in text)


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"


# ---- logs ------------------------------------------------------------------------------------------------------------


def run_logs(options: argparse.Namespace) -> int:
    """Run the command ``logs``."""
    wanted: dict[str, Any] = {"function": options.function or "", "errors": int(options.errors)}
    with served(options.at, options.admin_key) as door:
        asked: dict[str, Any] = {"last": options.n}
        try:
            while True:
                said = door.ask(f"/api/admin/logs?{urlencode(wanted | asked)}")
                for call in said["calls"]:
                    lines = [json.dumps(call, ensure_ascii=False)] if options.json else lines_of(call)
                    sys.stdout.writelines(f"{line}\n" for line in lines)
                sys.stdout.flush()
                if not options.follow:
                    return 0
                asked = {"after": said["next"], "wait": _WAIT}
        except KeyboardInterrupt:
            return 0


# ---- env -------------------------------------------------------------------------------------------------------------


def run_env(options: argparse.Namespace) -> int:
    """Run the command ``env``."""
    with served(options.at, options.admin_key) as door:
        if options.action in ("list", "get"):
            values = _variables(door)
            if options.action == "list":
                sys.stdout.writelines(f"{name}={value}\n" for name, value in sorted(values.items()))
                return 0
            if options.name not in values:
                raise InvalidValue(f"the environment variable {options.name} is not set")
            sys.stdout.write(values[options.name] + "\n")
            return 0
        name, given, value = options.name.partition("=")
        if options.action == "set" and not given:
            value = options.value if options.value is not None else _secret(name)
        if options.action == "remove" and name not in _variables(door):
            raise InvalidValue(f"the environment variable {name} is not set")
        change = {"name": name, "value": value if options.action == "set" else None}
        door.ask("/api/update_environment_variables", {"changes": [change]})
    say(False, change, f"{'set' if options.action == 'set' else 'removed'} {name}")
    return 0


def _variables(door: Door) -> dict[str, str]:
    return door.ask("/api/list_environment_variables")["environmentVariables"]


def _secret(name: str) -> str:
    return getpass.getpass(f"{name}: ") if sys.stdin.isatty() else sys.stdin.readline().rstrip("\n")
