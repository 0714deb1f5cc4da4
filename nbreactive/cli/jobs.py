"""``nbreactive jobs``: scheduled functions and cron jobs of a deployment; looking, canceling, running now."""

from __future__ import annotations

import argparse
from typing import Any

from nbreactive.cli._output import say
from nbreactive.cli._place import Door, add_place, served
from nbreactive.errors import InvalidValue
from nbreactive.notebook.jobs import STATES, Ask, canceled, listed, rows, run_now
from nbreactive.notebook.magics import aligned


def add_commands(commands: Any) -> None:
    """Add the command to a parser."""
    parser: argparse.ArgumentParser = commands.add_parser("jobs", help="list, cancel and run scheduled functions")
    parser.set_defaults(run=run_list, state=None, limit=100, json=False)  # without an action
    add_place(parser)
    actions = parser.add_subparsers(metavar="ACTION", help="without one: list")

    action = actions.add_parser("list", help="what is to run and what runs, and the cron jobs")
    action.add_argument("--state", choices=STATES, help="only jobs of one state")
    action.add_argument("--limit", type=int, default=100, metavar="N", help="jobs at most (default: 100)")
    action.add_argument("--json", action="store_true", help="all that is known of them, as JSON")
    add_place(action, inner=True)
    action.set_defaults(run=run_list)

    action = actions.add_parser("cancel", help="cancel a job, or all pending ones")
    action.add_argument("id", nargs="?", metavar="ID")
    action.add_argument("--all", action="store_true", help="all that have not begun")
    action.add_argument("--function", metavar="NAME", help="with --all: those of one function (chat:send)")
    add_place(action, inner=True)
    action.set_defaults(run=run_cancel)

    action = actions.add_parser("run", help="run a pending job, or a cron job, now")
    action.add_argument("name", metavar="ID|CRON", help="id of a job, or name of a cron job")
    add_place(action, inner=True)
    action.set_defaults(run=run_run)


def run_list(options: argparse.Namespace) -> int:
    """Run the command ``jobs list``."""
    with served(options.at, options.admin_key) as door:
        scheduled, crons = listed(_asks(door), options.state, options.limit)
    say(options.json, {"scheduled": scheduled, "crons": crons}, aligned(rows(scheduled, crons)))
    return 0


def run_cancel(options: argparse.Namespace) -> int:
    """Run the command ``jobs cancel``."""
    if (options.id is None) != options.all or (options.function and not options.all):
        raise InvalidValue("name one job by its id, or write --all, perhaps with --function NAME")
    what: dict[str, Any] = {"id": options.id} if options.id else {"all": True, "function": options.function}
    with served(options.at, options.admin_key) as door:
        say(False, None, canceled(_asks(door), what))
    return 0


def run_run(options: argparse.Namespace) -> int:
    """Run the command ``jobs run``."""
    with served(options.at, options.admin_key) as door:
        say(False, None, run_now(_asks(door), options.name))
    return 0


def _asks(door: Door) -> Ask:
    return lambda address, body: door.ask(f"/api/admin/{address}", body)
