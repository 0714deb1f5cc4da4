"""Who is in a room, as a query for everybody who may read; the other functions of presence run in the backend itself.

It never looks at the identity, so that one run answers all who are in the room.
"""

from __future__ import annotations

from typing import Any, Final, NoReturn

from nbreactive.errors import NotAllowed
from nbreactive.functions import Function
from nbreactive.functions.specs import Kind
from nbreactive.runtime.context import QueryContext
from nbreactive.values.validators import Validator, v

_FIRST: Final = ("joined", "updated")


def _list(ctx: QueryContext, room: str) -> list[dict[str, Any]]:
    """Everybody in a room, in the order in which they came; each once, however many tabs they have."""
    people: dict[str, dict[str, Any]] = {}
    sessions = ctx.db.system.query("_presence").with_index("by_room", lambda q: q.eq("room", room))
    for found in sessions.collect():
        session = {"id": found["_id"], "data": found["data"], "joined": found["joined"], "updated": found["updated"]}
        person = people.get(found["person"]["user"])
        if person is None:
            known = {name: found[name] for name in _FIRST}
            person = people[found["person"]["user"]] = {
                **found["person"],
                **known,
                "data": found["data"],
                "sessions": [],
            }
        elif session["updated"] >= person["updated"]:
            person.update(found["person"], updated=session["updated"], data=session["data"])
        person["sessions"].append(session)
    return list(people.values())


def _for_clients(ctx: QueryContext, **_: Any) -> NoReturn:
    """Presence is of whoever is connected."""
    raise NotAllowed(
        f"{ctx.meta.get_function_metadata()['name']} is for clients, who are in a room as long as they are connected; "
        "functions may ask nbreactive/presence:list"
    )


def _function(name: str, handler: Any, kind: Kind, args: dict[str, Validator]) -> tuple[str, Function]:
    return f"nbreactive/presence:{name}", Function(handler, kind, "public", args=args, name=name)


_SESSION: Final[dict[str, Validator]] = {"room": v.string(), "session": v.string()}

FUNCTIONS: Final[dict[str, Function]] = dict(
    [
        _function("list", _list, "query", {"room": v.string()}),
        _function("join", _for_clients, "mutation", _SESSION | {"data": v.any().optional()}),
        _function("heartbeat", _for_clients, "mutation", _SESSION | {"data": v.any().optional()}),
        _function("leave", _for_clients, "mutation", _SESSION),
    ]
)
"""By path."""
