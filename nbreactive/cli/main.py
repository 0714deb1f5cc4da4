"""The command line: ``nbreactive <command>``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from nbreactive import __version__
from nbreactive.cli import backup, completion, doctor, exchange, functions, jobs, keys, looking, project, serve
from nbreactive.errors import NBReactiveError


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
    exchange.add_commands(commands)
    backup.add_commands(commands)
    doctor.add_command(commands)
    completion.add_command(commands, parser)
    options = parser.parse_args(arguments)
    options.words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        return options.run(options)
    except NBReactiveError as error:
        print(f"nbreactive: {error.message}", file=sys.stderr)
        return 1
