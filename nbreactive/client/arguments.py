"""Python objects as arguments of functions: what a notebook has at hand, made into values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

import traitlets

from nbreactive.errors import ArgumentError
from nbreactive.values.checks import check_value


class Skip:
    """Stands for the arguments of a live query that is to pause."""

    def __repr__(self) -> str:
        return "SKIP"

    def __bool__(self) -> bool:
        return False


SKIP: Final = Skip()
"""Given as an argument (or as the value of a widget), it pauses a live query: the last value stays."""


Bound = traitlets.HasTraits | Skip
"""What a live query takes for any argument: something whose ``value`` it follows (a widget, a live query), or SKIP."""


class Arguments(Protocol):
    """Arguments that may change: widgets (see :mod:`nbreactive.notebook.bindings`)."""

    def current(self) -> dict[str, Any] | None:
        """Return the arguments as they are now, or None when the query is to pause."""
        ...

    def watch(self, changed: Callable[[], None]) -> None:
        """Call ``changed()`` when they have changed."""
        ...

    def close(self) -> None:
        """Let go of what they come from."""
        ...

    def fresh(self) -> Arguments:
        """Return the same arguments for another query."""
        ...


class FixedArguments:
    """Arguments that stay as they are."""

    def __init__(self, args: Mapping[str, Any]) -> None:
        self._args = dict(args)

    def current(self) -> dict[str, Any] | None:
        """Return the arguments, or None when the query is to pause."""
        return None if any(value is SKIP for value in self._args.values()) else self._args

    def watch(self, changed: Callable[[], None]) -> None:
        """Nothing changes here."""

    def close(self) -> None:
        """Nothing to let go of."""

    def fresh(self) -> Arguments:
        """Return the same arguments for another query."""
        return self


def to_value(given: Any, name: str) -> Any:
    """Return ``given`` as a value of the value model (or SKIP); ``name`` is said in errors.

    Widgets and live queries stand for their ``value``; aware datetimes become milliseconds since the epoch.
    """
    where = f"args.{name}"
    if isinstance(given, traitlets.HasTraits):
        if not given.has_trait("value"):
            raise ArgumentError(f"a {type(given).__name__} has no value to bind to", where)
        shown: Any = getattr(given, "value")  # noqa: B009 (a trait, which HasTraits does not declare)
    else:
        shown = given
    return SKIP if shown is SKIP else check_value(shown, where, datetimes=True)


def path_of(ref: Any) -> str:
    """Return the path (``chat:send``) of a reference, a decorated function or a text."""
    from nbreactive.functions.references import canonical_path

    path = ref if isinstance(ref, str) else getattr(ref, "path", None)
    if not isinstance(path, str) or not path:
        raise ArgumentError(f"{ref!r} is not a function: give a reference such as api.chat.send, or 'chat:send'.")
    return canonical_path(path)


def plain_args(args: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the arguments as values; a widget stands for what it shows now."""
    plain = {name: to_value(value, name) for name, value in (args or {}).items()}
    if any(value is SKIP for value in plain.values()):
        raise ArgumentError("SKIP pauses live queries; a call has nothing to pause.")
    return plain


def arguments_of(args: Mapping[str, Any] | None, convert: Callable[[Any, str], Any] = to_value) -> Arguments:
    """Return arguments that may be widgets; ``convert`` makes a value of each."""
    given = dict(args or {})
    if any(isinstance(value, traitlets.HasTraits) for value in given.values()):
        from nbreactive.notebook.bindings import WidgetArguments

        return WidgetArguments(given, convert)
    return FixedArguments({name: convert(value, name) for name, value in given.items()})
