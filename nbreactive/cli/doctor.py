"""``nbreactive doctor``: do log, row index and store.duckdb say the same?"""

from __future__ import annotations

import argparse
from typing import Any

import msgspec

from nbreactive.cli._output import say
from nbreactive.cli._place import add_key, door, own_folder
from nbreactive.cli._progress import amount
from nbreactive.cli.backup import moment
from nbreactive.notebook.status import many
from nbreactive.services.doctor import Report, examine_folder


def add_command(commands: Any) -> None:
    """Add the command to a parser."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "doctor",
        help="compare what the parts of a data folder say",
        description="Read the log, the row index and store.duckdb, look at every checksum and compare the documents that"
        " they hold. Nothing is changed. The exit status is 0 if all is well, and 2 if not.",
    )
    parser.add_argument(
        "place", metavar="DATA|URL", nargs="?", default=".nbreactive", help="data folder or URL (default: .nbreactive)"
    )
    parser.add_argument(
        "--files", metavar="URL", help="where a folder that nobody serves has its stored files (serve --files)"
    )
    add_key(parser)
    parser.add_argument("--json", action="store_true", help="report as JSON")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the command."""
    found = door(options.place, options.admin_key)
    if found is None:
        with own_folder(options.place) as folder:
            report = examine_folder(folder, options.files)
    else:
        report = msgspec.convert(found.ask("/api/admin/doctor"), Report)
    facts = msgspec.to_builtins(report) | {"healthy": report.healthy, "timestamp": str(report.timestamp)}
    say(options.json, facts, describe(report))
    return 0 if report.healthy else 2


def describe(report: Report) -> str:
    """Write the report for people."""
    lines = [
        f"log           {report.entries:,} commits, {amount(report.log_bytes, 'B')}, up to {moment(report.timestamp)}",
        f"history       complete from {moment(report.horizon)}",
        f"documents     {sum(report.tables.values()):,} in {many(len(report.tables), 'table')}",
        *(f"  {name:30} {count:>12,}" for name, count in sorted(report.tables.items())),
        f"stored files  {report.files.contents:,} contents, {amount(report.files.bytes, 'B')}",
        *(f"note          {note}" for note in report.notes),
    ]
    for problem in report.problems:
        lines += [f"PROBLEM       {problem.part}: {problem.what}", f"  what to do  {problem.fix}"]
    if report.healthy:
        lines.append("all is well   log, row index and store.duckdb hold the same documents")
    return "\n".join(lines)
