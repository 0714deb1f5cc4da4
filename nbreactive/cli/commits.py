"""``nbreactive changes`` and ``nbreactive undo``: what was committed, and taking it back."""

from __future__ import annotations

import argparse
from typing import Any

from nbreactive.cli._output import say
from nbreactive.cli._place import Door, add_place, served
from nbreactive.notebook.commits import listed, rows, sentence, undone
from nbreactive.notebook.jobs import Ask
from nbreactive.notebook.magics import aligned


def add_commands(commands: Any) -> None:
    """Add both commands to a parser."""
    parser: argparse.ArgumentParser = commands.add_parser("changes", help="list what was committed, newest first")
    parser.add_argument("--table", metavar="TABLE", help="only commits that changed this table")
    parser.add_argument("--since", metavar="TIME", help="only later ones: '2026-11-01 12:00' (UTC), or a timestamp")
    parser.add_argument("--limit", type=int, default=30, metavar="N", help="commits at most (default: 30)")
    parser.add_argument("--json", action="store_true", help="all that is known of them, as JSON")
    add_place(parser)
    parser.set_defaults(run=run_changes)

    parser = commands.add_parser(
        "undo",
        help="take a commit back",
        description="Make the documents of a commit what they were before it, in a new commit. If any was changed"
        " since, nothing is done.",
    )
    parser.add_argument("commit", metavar="TIMESTAMP|REQUEST", help="as `nbreactive changes` or the log name it")
    parser.add_argument("--force", action="store_true", help="also if documents were changed since: that is lost then")
    parser.add_argument("--json", action="store_true", help="say what was done as JSON")
    add_place(parser)
    parser.set_defaults(run=run_undo)


def run_changes(options: argparse.Namespace) -> int:
    """Run the command ``changes``."""
    with served(options.at, options.admin_key) as door:
        changes = listed(_asks(door), options.table, options.since, options.limit)
    say(options.json, {"changes": changes}, aligned(rows(changes)))
    return 0


def run_undo(options: argparse.Namespace) -> int:
    """Run the command ``undo``."""
    with served(options.at, options.admin_key) as door:
        done = undone(_asks(door), options.commit, force=options.force)
    say(options.json, done, sentence(done))
    return 0


def _asks(door: Door) -> Ask:
    return lambda address, body: door.ask(f"/api/admin/{address}", body)
