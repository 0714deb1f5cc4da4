"""What type checkers know of references whose signatures were written by a deploy.

``ctx.run_query`` takes a :class:`QueryLike`: its arguments are those of ``__call__``, its result is that of
``__as_query__``, which differs from the one of a client where a function sees datetimes and a client numbers. The
untyped ``api.chat.send`` of :mod:`nbreactive.functions.references` takes and gives anything. Nothing here does anything
at run time.
"""

from __future__ import annotations

from typing import ParamSpec, Protocol, TypeVar

P = ParamSpec("P")
R_co = TypeVar("R_co", covariant=True)


class QueryLike(Protocol[P, R_co]):
    """A reference of a query."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> object:
        """Call it from outside."""
        ...

    def __as_query__(self) -> R_co:
        """Give functions the type of the result."""
        ...


class MutationLike(Protocol[P, R_co]):
    """A reference of a mutation."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> object:
        """Call it from outside."""
        ...

    def __as_mutation__(self) -> R_co:
        """Give functions the type of the result."""
        ...


class ActionLike(Protocol[P, R_co]):
    """A reference of an action."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> object:
        """Call it from outside."""
        ...

    def __as_action__(self) -> R_co:
        """Give functions the type of the result."""
        ...
