"""``nbreactive init`` and ``nbreactive dev``: beginning with a folder of functions, and working on it."""

from __future__ import annotations

import argparse
import contextlib
import datetime as dt
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from nbreactive.cli import serve
from nbreactive.errors import DataFolderError

_CHAT = '''\
"""A chat: what is written here is deployed as api.chat.* whenever this file is saved."""

from nbreactive import define_schema, define_table, mutation, query, v

schema = define_schema({"messages": define_table({"author": v.string(), "body": v.string()})})


@query
def list_messages(ctx, limit: int = 50):
    """The newest messages; live queries of it follow the table."""
    return ctx.db.query("messages").order("desc").take(limit)


@mutation
def send(ctx, author: str, body: str):
    """Write a message."""
    return ctx.db.insert("messages", {"author": author, "body": body})
'''
_NEXT = """\
{folder} has a first module, chat.py. Next:
  nbreactive dev {folder}                      serve it, and deploy what you save
  nbreactive run chat.send author=me body=hi   call a function
In a notebook: %load_ext nbreactive
"""


def add_commands(commands: Any) -> None:
    """Add both commands to a parser."""
    parser: argparse.ArgumentParser = commands.add_parser("init", help="make a functions folder with a first module")
    parser.add_argument("functions", nargs="?", type=Path, default=Path("reactive"), metavar="FUNCTIONS_DIR")
    parser.set_defaults(run=run_init)

    parser = commands.add_parser(
        "dev",
        help="serve a functions folder and say what happens",
        description="Serve a functions folder in development mode, deploy what is saved, write typed stubs, and show"
        " deploys, calls and errors as they happen. The folder is `reactive` if none is named.",
    )
    serve.add_options(parser)
    parser.add_argument("--quiet", action="store_true", help="deploys and errors only, not every call")
    parser.set_defaults(run=run_dev)


def run_init(options: argparse.Namespace) -> int:
    """Run the command ``init``."""
    folder: Path = options.functions
    if folder.exists() and any(folder.iterdir() if folder.is_dir() else (folder,)):
        raise DataFolderError(
            f"{folder} is there already; name another folder, or use it with `nbreactive dev {folder}`"
        )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "chat.py").write_text(_CHAT, "utf-8")
    ignored = Path(".gitignore")
    text = ignored.read_text("utf-8") if ignored.exists() else ""
    if ".nbreactive/" not in text.split():
        ignored.write_text(text + "\n" * bool(text and not text.endswith("\n")) + ".nbreactive/\n", "utf-8")
    sys.stdout.write(_NEXT.format(folder=folder))
    return 0


def run_dev(options: argparse.Namespace) -> int:
    """Run the command ``dev``."""
    folder = options.functions or Path("reactive")
    if not folder.is_dir():
        raise DataFolderError(f"there is no folder {folder}; `nbreactive init {folder}` makes one")
    words = [word for word in options.words[1:] if word != "--quiet"]
    command = [sys.executable, "-m", "nbreactive", "serve", *([] if options.functions else [str(folder)]), *words]
    command += [] if options.quiet else ["--verbose"]
    env = os.environ | {"NBREACTIVE_EXIT_WITH_STDIN": "1"}
    with subprocess.Popen(
        command, env=env, text=True, bufsize=1, stdin=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stderr is not None
        with contextlib.suppress(ValueError):  # in a thread there are no signals
            signal.signal(signal.SIGTERM, lambda *_: process.terminate())
        try:
            for line in process.stderr:
                if line.startswith("{") and '"at"' in line:
                    sys.stdout.writelines(f"{text}\n" for text in for_people(json.loads(line)))
                else:
                    sys.stdout.write(line)
                sys.stdout.flush()
        except KeyboardInterrupt:
            process.terminate()
        return process.wait(60)


def for_people(event: dict[str, Any]) -> list[str]:
    """Write an event of the backend's log as lines.

    Examples
    --------
    >>> for_people({"at": 0, "level": "info", "event": "deployed", "modules": ["chat"], "version": 2})[0][9:]
    'deployed · modules: chat · version: 2'
    """
    when = dt.datetime.fromtimestamp(event.pop("at"), dt.UTC).astimezone().strftime("%H:%M:%S")
    level, name = event.pop("level", "info"), event.pop("event", "")
    if name == "call":
        path = event.get("path", "").replace("/", ".").replace(":", ".")
        outcome = event.get("code") or "ok"
        head = f"{when} {event.get('kind', '')} {path} · {outcome} · {event.get('ms', 0)} ms · {event.get('request_id', '')}"
        said = [f"    {line}" for line in event.get("message", "").splitlines() if not line.startswith("[Request ID: ")]
        return [head, *(f"    {line}" for line in event.get("lines", ())), *said]
    facts = {key: value for key, value in event.items() if value not in (None, [], "", 0)}
    shown = [
        f"{key}: {', '.join(map(str, value)) if isinstance(value, list) else value}"
        for key, value in facts.items()
        if not isinstance(value, dict) and "\n" not in str(value)
    ]
    long = [f"    {line}" for value in facts.values() for line in str(value).splitlines() if "\n" in str(value)]
    mark = "" if level == "info" else f"{level}: "
    return [f"{when} {mark}{' · '.join([name, *shown])}", *long]
