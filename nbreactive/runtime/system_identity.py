"""Who is asking and what they may do, as queries for everybody: what a client says of who is signed in through it."""

from __future__ import annotations

from typing import Any, Final

from nbreactive.functions import Function
from nbreactive.runtime.context import QueryContext
from nbreactive.values.validators import v

WHO: Final = "nbreactive/identity:who"
ROLES: Final = "nbreactive/identity:roles"
"""Its argument is filled in by the backend, which knows what a caller may do; whatever callers say is not looked at."""


def _who(ctx: QueryContext) -> dict[str, Any] | None:
    """What functions see in ``ctx.auth``."""
    return ctx.auth.get_user_identity()


def _roles(_: QueryContext, roles: list[str]) -> list[str]:
    """What the caller may do here: ``read``, ``write``, ``deploy``, ``admin``."""
    return roles


FUNCTIONS: Final[dict[str, Function]] = {
    WHO: Function(_who, "query", "public", args={}, name="who"),
    ROLES: Function(_roles, "query", "public", args={"roles": v.array(v.string())}, name="roles"),
}
"""By path."""
