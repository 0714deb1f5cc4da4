"""``nbreactive completion``: what a shell needs to complete commands and options."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from nbreactive.errors import MissingPackage


def add_command(commands: Any, parser: argparse.ArgumentParser) -> None:
    """Add the command; ``parser`` is the one whose commands are completed."""
    command: argparse.ArgumentParser = commands.add_parser(
        "completion",
        help="print a script that completes commands in your shell",
        description='For bash: eval "$(nbreactive completion bash)"; for zsh put the output into a file _nbreactive'
        " on $fpath; for tcsh: nbreactive completion tcsh > nbreactive.completion, and source it.",
    )
    command.add_argument("shell", choices=("bash", "zsh", "tcsh"))
    command.set_defaults(run=lambda options: run(options, parser))


def run(options: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    """Run the command."""
    try:
        import shtab
    except ImportError:
        raise MissingPackage("completion needs the package shtab: pip install 'nbreactive[cli]'") from None
    sys.stdout.write(shtab.complete(parser, options.shell) + "\n")
    return 0
