"""What type checkers know of references in the generated ``api.pyi``; nothing here does anything at run time.

Each function gets a class of its own there with the signature of ``__call__``, and for queries those of ``live`` and
(where they return pages) of ``__as_pages__``. ``use_query`` and its kin take their arguments and results from these.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, Protocol, Self, TypeVar

P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)

if TYPE_CHECKING:
    from nbreactive.client.arguments import Bound as Bound  # noqa: PLC0414 - the generated files import it from here
    from nbreactive.client.live import LiveQuery
    from nbreactive.client.paginated import PaginatedQuery
    from nbreactive.functions.decorators import Function
    from nbreactive.functions.references import Reference

    class Live(LiveQuery, Generic[R]):
        """A live query whose results have a known type."""

        @property
        def value(self) -> R:  # pyright: ignore[reportIncompatibleVariableOverride]
            """The last good result."""
            ...

    class Paginated(PaginatedQuery, Generic[R]):
        """A paginated query whose rows have a known type."""

        @property
        def value(self) -> list[R]:  # pyright: ignore[reportIncompatibleVariableOverride]
            """The rows of all loaded pages."""
            ...

        @property
        def results(self) -> list[R]:
            """The rows of all loaded pages."""
            ...

    Untyped = Reference | Function | str
    """A function of which only the name is known."""


class LiveLike(Protocol[P, R_co]):
    """A reference that can be made live."""

    def live(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """Make it live."""
        ...


class PagesLike(Protocol[P, R_co]):
    """A reference of a query that returns pages; the arguments are those beside ``paginationOpts``."""

    def __as_pages__(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """Give ``use_paginated_query`` the type of its result."""
        ...


class CallLike(Protocol[P, R_co]):
    """A reference of a mutation, with the result that clients get."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """Call it once."""
        ...

    def __as_mutation__(self) -> object:
        """Say that it is one."""
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
