"""``nbreactive backup`` and ``nbreactive restore``."""

from __future__ import annotations

import argparse
import datetime as dt
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from nbreactive.cli._output import say
from nbreactive.cli._place import add_key, door, own_folder
from nbreactive.cli._progress import Progress, amount
from nbreactive.columns.batches import FOLDER
from nbreactive.errors import InvalidValue
from nbreactive.server.data_folder import cursor_key
from nbreactive.services.backup import Manifest, folder_log, verify_elsewhere, write_backup
from nbreactive.services.blobs import Blobs
from nbreactive.services.file_copies import pieces_of
from nbreactive.services.restore import restore
from nbreactive.services.streams import records


def add_commands(commands: Any) -> None:
    """Add both commands to a parser."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "backup",
        help="write a deployment into one file, while it serves",
        description="Write everything - documents, history, functions, environment - into one file, as of one moment."
        " The deployment goes on serving.",
    )
    parser.add_argument("place", metavar="DATA|URL", help="data folder or URL of the deployment")
    parser.add_argument("target", type=Path, metavar="FILE", help="the file to write; replaced if it is there")
    parser.add_argument("--no-verify", action="store_true", help="do not read the file again in another process")
    parser.add_argument(
        "--files", metavar="URL", help="where a folder that nobody serves has its stored files (serve --files)"
    )
    add_key(parser)
    parser.add_argument("--json", action="store_true", help="say what was done as JSON")
    parser.set_defaults(run=run_backup)

    parser = commands.add_parser(
        "restore",
        help="make a data folder from a backup",
        description="Make a data folder from a backup: the exact state of its moment, or of an earlier one.",
    )
    parser.add_argument("file", type=Path, metavar="FILE", help="a backup")
    parser.add_argument("data", type=Path, metavar="DATA", help="the folder to make; must be empty or not there")
    parser.add_argument(
        "--to-ts", metavar="TIME", help="an earlier state: a timestamp (ns) or a time such as 2026-01-31T12:00:00Z"
    )
    parser.add_argument(
        "--files", metavar="URL", help="put stored files there, for serve --files (default: DATA/files)"
    )
    parser.add_argument("--json", action="store_true", help="say what was done as JSON")
    parser.set_defaults(run=run_restore)


def run_backup(options: argparse.Namespace) -> int:
    """Run ``backup``."""
    found = door(options.place, options.admin_key)
    if found is None:
        with own_folder(options.place) as folder:
            horizon, size, batches = folder_log(folder)
            files = chain(pieces_of(Blobs(folder / "files", options.files)), pieces_of(Blobs(folder / FOLDER)))
            manifest = _write(options, batches, size, horizon=horizon, cursor_key=cursor_key(folder), files=files)
    else:
        with found.open("/api/admin/backup") as answer:
            coming = records(answer.read)
            _, head = next(coming)
            rest: list[tuple[str, bytes]] = []
            batches = _batches(coming, rest)
            known = {name: head[name] for name in ("horizon", "deployment", "cursor_key") if name in head}
            manifest = _write(options, batches, head["bytes"], **known, files=_pieces(coming, rest))
    verified = not options.no_verify
    if verified:
        verify_elsewhere(options.target)
    size = options.target.stat().st_size
    documents = sum(count for count, _ in manifest.tables.values())
    facts = {
        "file": str(options.target),
        "bytes": size,
        "timestamp": str(manifest.timestamp),
        "entries": manifest.entries,
        "documents": documents,
        "files": len(manifest.files),
        "verified": verified,
    }
    say(
        options.json,
        facts,
        f"{options.target}: {documents:,} documents as of {moment(manifest.timestamp)} (timestamp {manifest.timestamp}),"
        f" {amount(size, 'B')}{', verified' if verified else ', not verified'}",
    )
    return 0


def _write(options: argparse.Namespace, batches: Any, size: int, **known: Any) -> Manifest:
    with Progress("backing up", total=size, quiet=options.json) as progress:
        return write_backup(options.target, batches, progress=progress.add, **known)


def _batches(coming: Iterator[tuple[bytes, Any]], rest: list[tuple[str, bytes]]) -> Iterator[list[bytes]]:
    """Yield the batches; the first piece of a file, which follows them, goes into ``rest``."""
    for kind, content in coming:
        if kind == b"f":
            rest.append(content)
            return
        if kind == b"b":
            yield content


def _pieces(coming: Iterator[tuple[bytes, Any]], rest: list[tuple[str, bytes]]) -> Iterator[tuple[str, bytes]]:
    yield from rest
    for kind, content in coming:
        if kind == b"f":
            yield content


def run_restore(options: argparse.Namespace) -> int:
    """Run ``restore``."""
    to_ts = None if options.to_ts is None else timestamp(options.to_ts)
    with Progress("restoring", quiet=options.json) as progress:
        last = restore(options.file, options.data, to_ts=to_ts, progress=progress.add, files_at=options.files)
    say(
        options.json,
        {"data": str(options.data), "timestamp": str(last)},
        f"{options.data} holds the state of {moment(last)} (timestamp {last}); nbreactive serve --data {options.data}",
    )
    return 0


def timestamp(text: str) -> int:
    """Read a timestamp, or a time of day with its zone.

    Examples
    --------
    >>> timestamp("1700000000000000000"), timestamp("2023-11-14T22:13:20Z")
    (1700000000000000000, 1700000000000000000)
    """
    if text.isascii() and text.isdigit():
        return int(text)
    try:
        found = dt.datetime.fromisoformat(text)
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        raise InvalidValue(f"{text!a} is neither a timestamp nor a time with its zone, such as 2026-01-31T12:00:00Z")
    since = found - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
    return (since.days * 86_400 + since.seconds) * 1_000_000_000 + since.microseconds * 1000


def moment(ts: int) -> str:
    """Write a timestamp for people."""
    return f"{dt.datetime.fromtimestamp(ts / 1e9, dt.UTC):%Y-%m-%d %H:%M:%S} UTC" if ts else "the beginning"
