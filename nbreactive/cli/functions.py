"""``nbreactive run`` and ``nbreactive deploy``: calling functions, and bringing a folder of them to a deployment."""

from __future__ import annotations

import argparse
import json
import sys
import threading
from pathlib import Path
from typing import Any

import msgspec

from nbreactive.cli._output import say
from nbreactive.cli._place import Door, add_place, served
from nbreactive.client import connect
from nbreactive.errors import DataFolderError, DeployRefused, InvalidValue
from nbreactive.functions.references import reference
from nbreactive.functions.specs import FunctionSpec, TableSpec
from nbreactive.notebook.status import many
from nbreactive.services.folder import read_folder
from nbreactive.services.stubs.writer import write_stubs
from nbreactive.values.json import decode_json, to_jsonable


def add_commands(commands: Any) -> None:
    """Add both commands to a parser."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "run",
        help="call a function once, or follow a query",
        description="Call a query, mutation or action (also internal ones) and write its result as JSON.",
    )
    parser.add_argument("function", metavar="FUNCTION", help="chat.send or chat:send")
    parser.add_argument(
        "args", nargs="*", metavar="ARG", help="one JSON object, or name=value (a value that is no JSON is text)"
    )
    parser.add_argument("--watch", action="store_true", help="write the result of a query whenever it changes")
    add_place(parser)
    parser.set_defaults(run=run_function)

    parser = commands.add_parser(
        "deploy",
        help="bring a functions folder to a deployment",
        description="Deploy all modules of a folder at once, all or none; modules that came from the folder before and"
        " are gone are removed. Typed stubs are written into the folder.",
    )
    parser.add_argument("functions", nargs="?", type=Path, default=Path("reactive"), metavar="FUNCTIONS_DIR")
    parser.add_argument("--force", action="store_true", help="also replace modules that came from elsewhere")
    parser.add_argument("--message", default="", help="kept in the history")
    add_place(parser)
    parser.add_argument("--json", action="store_true", help="say what was done as JSON")
    parser.set_defaults(run=run_deploy)


def run_function(options: argparse.Namespace) -> int:
    """Run the command ``run``."""
    module, _, name = options.function.replace(":", ".").rpartition(".")
    path = f"{module.replace('.', '/')}:{name}" if module else name
    args = read_args(options.args)
    with served(options.at, options.admin_key) as door:
        if options.watch:
            return _watch(door, path, args)
        said = door.ask("/api/function", {"path": path, "args": [args], "format": "convex_encoded_json"})
    for line in said.get("logLines", ()):
        print(line, file=sys.stderr)
    if said["status"] == "success":
        _write(decode_json(msgspec.json.encode(said["value"])))
        return 0
    print(said["errorMessage"].rstrip(), file=sys.stderr)
    if "errorData" in said:
        _write(decode_json(msgspec.json.encode(said["errorData"])))
    return 1


def read_args(words: list[str]) -> dict[str, Any]:
    """Read the arguments of a call.

    Examples
    --------
    >>> read_args(['{"n": 1}']), read_args(["n=2", "author=me", 'tags=["a"]'])
    ({'n': 1}, {'n': 2, 'author': 'me', 'tags': ['a']})
    """
    if len(words) == 1 and words[0].lstrip().startswith("{"):
        try:
            found = json.loads(words[0])
        except ValueError as error:
            raise InvalidValue(f"the arguments are no JSON object: {error}") from None
        return found if isinstance(found, dict) else {}
    args: dict[str, Any] = {}
    for word in words:
        name, equals, text = word.partition("=")
        if not equals or not name:
            raise InvalidValue(f"{word!r} is no argument; write name=value, or all as one JSON object")
        try:
            args[name] = json.loads(text)
        except ValueError:
            args[name] = text
    return args


def _write(value: Any) -> None:
    print(json.dumps(to_jsonable(value), ensure_ascii=False, indent=2), flush=True)


def _watch(door: Door, path: str, args: dict[str, Any]) -> int:
    with connect(door.url, admin_key=door.key) as client:
        live = client.live(reference(path), args)
        live.observe(lambda change: _write(change["new"]), "value")
        _write(live.value)
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            live.close()
    return 0


def run_deploy(options: argparse.Namespace) -> int:
    """Run the command ``deploy``."""
    folder = options.functions.resolve()
    if not folder.is_dir():
        raise DataFolderError(f"there is no folder {options.functions}; `nbreactive init` makes one")
    modules, unreadable = read_folder(folder)
    if unreadable:
        raise InvalidValue("; ".join(unreadable.values()))
    with served(options.at, options.admin_key) as door:
        deployed = door.ask("/api/admin/modules")["modules"]
        gone = [
            module["name"]
            for module in deployed
            if module["name"] not in modules
            and module["origin"]["kind"] == "file"
            and module["origin"]["label"] == f"{folder.name}/{module['name']}.py"
        ]
        body = {
            "modules": [msgspec.to_builtins(module) for module in modules.values()],
            "remove": gone,
            "message": options.message,
            "force": options.force or not _others(deployed, folder, set(modules)),
        }
        try:
            done = door.ask("/api/admin/deploy", body)
        except DeployRefused as error:
            for issue in error.issues:
                fix = f"\n    {issue['fix']}" if issue.get("fix") else ""
                print(f"{issue.get('file')}:{issue.get('line')}: {issue.get('reason')}{fix}", file=sys.stderr)
            if not error.issues:
                raise
            raise DeployRefused("the deploy was refused, and nothing has changed") from None
        known = door.ask("/api/admin/functions")
    functions = msgspec.convert(known["functions"], tuple[FunctionSpec, ...])
    tables = msgspec.convert(known["tables"], tuple[TableSpec, ...])
    write_stubs(functions, tables, folder, schema_validation=known.get("schema_validation", True))
    what = (
        "nothing had changed"
        if done["unchanged"]
        else f"{many(len(modules), 'module')} deployed as version {done['version']}"
    )
    removed = f"; removed: {', '.join(gone)}" if gone else ""
    say(
        options.json,
        done | {"removed": gone},
        "\n".join([what + removed, *map("warning: {}".format, done["warnings"])]),
    )
    return 0


def _others(deployed: list[dict[str, Any]], folder: Path, names: set[str]) -> list[str]:
    """Modules of these names that came from elsewhere, e.g. from a notebook."""
    return [
        module["name"]
        for module in deployed
        if module["name"] in names
        and (module["origin"]["kind"] != "file" or module["origin"]["label"] != f"{folder.name}/{module['name']}.py")
    ]
