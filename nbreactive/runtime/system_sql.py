"""Live SQL as functions of the system: their names and arguments. They run in the columns process, not in workers.

``register`` keeps the text of a statement under its hash, for whoever may deploy; ``live`` gives its result, for whoever may
read: it names hashes, never text. :mod:`nbreactive.services.statements` runs them.
"""

from __future__ import annotations

from typing import Any, Final, NoReturn

from nbreactive.errors import NotAllowed
from nbreactive.functions.decorators import Function
from nbreactive.functions.specs import Kind
from nbreactive.runtime.context import QueryContext
from nbreactive.values.validators import Validator, v

REGISTER: Final = "_system/sql:register"
LIVE: Final = "_system/sql:live"
EXPLAIN: Final = "_system/sql:explain"


def _elsewhere(ctx: QueryContext, **args: Any) -> NoReturn:  # noqa: ARG001
    """SQL is run by the columns process."""
    raise NotAllowed(f"{ctx.meta.get_function_metadata()['name']} is for clients; a function uses ctx.db.sql(...)")


def _function(path: str, kind: Kind, args: dict[str, Validator]) -> tuple[str, Function]:
    return path, Function(_elsewhere, kind, "system", args=args, name=path.partition(":")[2])


_PARAMS: Final = v.record(v.string(), v.any()).optional()

FUNCTIONS: Final[dict[str, Function]] = dict(
    [
        _function(REGISTER, "mutation", {"sql": v.string()}),
        _function(
            LIVE,
            "query",
            {
                "hash": v.string(),
                "params": _PARAMS,
                "offset": v.integer().optional(),
                "limit": v.integer().optional(),
            },
        ),
        _function(EXPLAIN, "query", {"hash": v.string().optional(), "sql": v.string().optional(), "params": _PARAMS}),
    ]
)
"""By path."""
