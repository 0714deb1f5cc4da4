"""The classes of references in the generated ``api.pyi``; nothing here does anything at run time.

Each function gets a class of its own there with the signature of ``__call__``, and of ``live`` for queries.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, Protocol, Self, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

if TYPE_CHECKING:
    from nbreactive.client.arguments import Bound as Bound  # noqa: PLC0414 - the generated files import it from here
    from nbreactive.client.live import LiveQuery

    class Live(LiveQuery, Generic[R]):
        """A live query whose results have a known type."""

        @property
        def value(self) -> R:  # pyright: ignore[reportIncompatibleVariableOverride]
            """The last good result."""
            ...


class FunctionReference(Protocol):
    """What all references have in common."""

    @property
    def path(self) -> str:
        """``module:name``."""
        ...

    @property
    def internal(self) -> bool:
        """Whether it names an internal function."""
        ...

    def options(self, **options: Any) -> Self:
        """Return the same reference with options: arguments stay the function's own."""
        ...

    def aio(self: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> Awaitable[R]:
        """Call once, from asynchronous code."""
        ...


class QueryReference(FunctionReference, Protocol):
    """The reference of a query."""


class MutationReference(FunctionReference, Protocol):
    """The reference of a mutation."""


class ActionReference(FunctionReference, Protocol):
    """The reference of an action."""
