"""``nbreactive keys``: keys for programs, each with roles, shown once, revocable at any time."""

from __future__ import annotations

import argparse
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from nbreactive.cli._output import say
from nbreactive.cli._place import add_place, served
from nbreactive.server.keys import ROLES


def add_command(commands: Any) -> None:
    """Add the commands to a parser."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "keys",
        help="make, list and revoke keys for programs",
        description="Keys open one deployment, with one or more roles; what is kept of them is a hash.",
    )
    actions = parser.add_subparsers(required=True, metavar="create|list|revoke")
    create = actions.add_parser("create", help="make a key; it is shown this once")
    create.add_argument("name", metavar="NAME", help="what it is for")
    create.add_argument(
        "--role", action="append", choices=ROLES, required=True, help="what it may do (each has those before it)"
    )
    create.set_defaults(run=run_create)
    listing = actions.add_parser("list", help="list keys")
    listing.set_defaults(run=run_list)
    revoke = actions.add_parser("revoke", help="revoke a key, also for connections that it has opened")
    revoke.add_argument("key", metavar="ID|NAME")
    revoke.set_defaults(run=run_revoke)
    for one in (create, listing, revoke):
        one.add_argument("--deployment", metavar="NAME", help="of several at that place (default: the first)")
        add_place(one)
        one.add_argument("--json", action="store_true", help="say it as JSON")


def run_create(options: argparse.Namespace) -> int:
    """Run ``keys create``."""
    with served(_place(options), options.admin_key) as door:
        made = door.ask("/api/admin/keys", {"name": options.name, "roles": options.role})
    if not options.json:
        what = f"{made['name']} ({made['id']}), roles {', '.join(made['roles'])}. It is not shown again:"
        print(f"Key {what}", file=sys.stderr)
    say(options.json, made, made["key"])
    return 0


def run_list(options: argparse.Namespace) -> int:
    """Run ``keys list``."""
    with served(_place(options), options.admin_key) as door:
        keys = door.ask("/api/admin/keys")["keys"]
    lines = [
        f"{key['id']}  {datetime.fromtimestamp(key['created_at'] / 1000, UTC):%Y-%m-%d}  {key['roles'][-1]:6}  {key['name']}"
        for key in keys
    ]
    say(options.json, keys, "\n".join(lines) or "no keys")
    return 0


def run_revoke(options: argparse.Namespace) -> int:
    """Run ``keys revoke``."""
    with served(_place(options), options.admin_key) as door:
        key = door.ask("/api/admin/keys/revoke", {"key": options.key})
    say(options.json, key, f"revoked {key['name']} ({key['id']})")
    return 0


def _place(options: argparse.Namespace) -> str:
    """Return where the deployment of that name is, as ``serve --also`` and the Jupyter extension place them."""
    place: str = options.at
    if not options.deployment:
        return place
    if place.startswith(("http://", "https://")):
        return f"{place.rstrip('/')}/{options.deployment}"
    beside = Path(place).with_name(f"{Path(place).name}-{options.deployment}")
    return str(beside) if beside.is_dir() else place
