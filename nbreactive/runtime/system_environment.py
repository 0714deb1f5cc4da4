"""The queries with which Convex's command line asks for environment variables (``npx convex env list`` and ``get``)."""

from __future__ import annotations

from typing import Final

from nbreactive.functions import Function
from nbreactive.runtime.context import QueryContext
from nbreactive.values.validators import v

BUILT_IN: Final[tuple[str, ...]] = ("CONVEX_CLOUD_URL", "CONVEX_SITE_URL", "NBREACTIVE_URL", "NBREACTIVE_SITE_URL")
"""Always there, set by the backend itself; no list of what people have set names them."""


def _default(ctx: QueryContext) -> list[dict[str, str]]:
    """Every variable that was set, with its value."""
    return [{"name": name, "value": value} for name, value in ctx.env.items() if name not in BUILT_IN]


def _get(ctx: QueryContext, name: str) -> dict[str, str] | None:
    """One variable."""
    value = ctx.env.get(name)
    return None if value is None else {"name": name, "value": value}


_MODULE: Final = "_system/cli/queryEnvironmentVariables"

FUNCTIONS: Final[dict[str, Function]] = {
    f"{_MODULE}:default": Function(_default, "query", "system", args={}, name="default"),
    f"{_MODULE}:get": Function(_get, "query", "system", args={"name": v.string()}, name="get"),
}
"""By path."""
