"""The command line: ``nbreactive <command>``."""

from __future__ import annotations

import argparse
import errno
import http.client
import sys
from collections.abc import Sequence

from nbreactive import __version__
from nbreactive.cli import (
    backup,
    commits,
    completion,
    doctor,
    exchange,
    functions,
    jobs,
    keys,
    looking,
    project,
    serve,
    sql,
)
from nbreactive.errors import NBReactiveError

_FULL = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC), errno.EFBIG)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code."""
    parser = argparse.ArgumentParser("nbreactive", description="A reactive database for notebooks.")
    parser.add_argument("--version", action="version", version=f"nbreactive {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    project.add_commands(commands)
    serve.add_command(commands)
    functions.add_commands(commands)
    looking.add_commands(commands)
    keys.add_command(commands)
    jobs.add_commands(commands)
    commits.add_commands(commands)
    sql.add_command(commands)
    exchange.add_commands(commands)
    backup.add_commands(commands)
    doctor.add_command(commands)
    completion.add_command(commands, parser)
    options = parser.parse_args(arguments)
    options.words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        return options.run(options)
    except NBReactiveError as error:
        return _failed(error.message)
    except http.client.HTTPException as error:
        return _failed(f"the backend's answer was cut short ({type(error).__name__}): look at its log, and try again")
    except OSError as error:
        return _failed(_reason(error))


def _failed(reason: str) -> int:
    print(f"nbreactive: {reason}", file=sys.stderr)
    return 1


def _reason(error: OSError) -> str:
    """Say what the system refused, where it told, and what to do if that is known."""
    where = f"{error.filename}: " if error.filename else ""
    if error.errno in _FULL:
        return f"{where}the disk is full ({error.strerror}): free some space on it, and try again"
    if isinstance(error, ConnectionError):
        return f"the connection to the backend broke off ({error}): look at its log, and try again"
    return f"{where}{error.strerror or error}"
