"""Who is asking, as a query for everybody: what a client says of who is signed in through it."""

from __future__ import annotations

from typing import Any, Final

from nbreactive.functions import Function
from nbreactive.runtime.context import QueryContext

WHO: Final = "nbreactive/identity:who"


def _who(ctx: QueryContext) -> dict[str, Any] | None:
    """What functions see in ``ctx.auth``."""
    return ctx.auth.get_user_identity()


FUNCTIONS: Final[dict[str, Function]] = {WHO: Function(_who, "query", "public", args={}, name="who")}
"""By path."""
