"""Stale copies: a module has one origin, and may only be changed from its newest version."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from pathlib import PurePath
from typing import NoReturn

from nbreactive.errors import StaleModule
from nbreactive.functions.specs import ModuleSource, Origin
from nbreactive.services.stored_modules import StoredModule

_DIFF_LINES = 400


def refuse_stale(
    current: StoredModule,
    wanted: ModuleSource,
    base: Mapping[str, int | None],
    source_at: Callable[[str, int], str | None],
) -> None:
    """Raise :class:`StaleModule` if ``wanted`` comes from elsewhere than ``current``, or does not know it.

    ``source_at`` tells the text that a version brought of a module: a copy made from a text that is deployed again
    (after a rollback) is not stale.
    """
    if not same_origin(current.origin, wanted.origin):
        held, mine = _told_apart(current.origin, wanted.origin)
        _refuse(current, wanted, f"{_belongs(current, held)}, this copy comes from {mine}")
    if _unseen(current, base, source_at):
        seen = base[wanted.name]
        known = "has not seen any version of it" if seen is None else f"was made from version {seen}"
        _refuse(
            current, wanted, f"version {current.version} by {current.author} is newer than this copy, which {known}"
        )


def refuse_removal(
    current: StoredModule,
    origin: Origin,
    base: Mapping[str, int | None],
    source_at: Callable[[str, int], str | None],
) -> None:
    """Raise :class:`StaleModule` if who wants to remove ``current`` is not where it comes from, or does not know it."""
    if not same_origin(current.origin, origin):
        held, mine = _told_apart(current.origin, origin)
        why = f"{_belongs(current, held)}, this is {mine}"
    elif _unseen(current, base, source_at):
        seen = base[current.name]
        known = "none" if seen is None else f"version {seen}"
        why = f"the newest is version {current.version} by {current.author}, and what was seen here is {known}"
    else:
        return
    message = f"the module {current.name!r} was not removed: {why}; ask who needs it, or use --force to remove it"
    raise StaleModule(message, "", current.summary())


def _belongs(current: StoredModule, held: str) -> str:
    return f"it belongs to {held} ({current.author}, version {current.version})"


def _unseen(current: StoredModule, base: Mapping[str, int | None], source_at: Callable[[str, int], str | None]) -> bool:
    """Whether a newer version, with another text, stands than the one that a copy was made from."""
    if current.name not in base or base[current.name] == current.version:
        return False
    seen = base[current.name]
    return seen is None or source_at(current.name, seen) != current.source


def same_origin(one: Origin, other: Origin) -> bool:
    """Whether both are the same notebook, or the same file."""
    return (one.kind, one.key) == (other.kind, other.key)


def unified_diff(old: str, new: str, old_label: str, new_label: str) -> str:
    """The difference of two sources, at most a few hundred lines of it."""
    lines = list(difflib.unified_diff(old.splitlines(), new.splitlines(), old_label, new_label, lineterm=""))
    if len(lines) > _DIFF_LINES:
        lines = [*lines[:_DIFF_LINES], f"... {len(lines) - _DIFF_LINES} more lines"]
    return "\n".join(lines)


def _refuse(current: StoredModule, wanted: ModuleSource, why: str) -> NoReturn:
    diff = unified_diff(
        current.source, wanted.source, f"deployed (version {current.version})", f"this copy ({_label(wanted.origin)})"
    )
    message = f"the module {current.name!r} was not deployed: {why}; look at the diff, take over what you need, or use --force to replace it"
    raise StaleModule(message, diff, current.summary())


def _told_apart(one: Origin, other: Origin) -> tuple[str, str]:
    """Return the labels of two origins; if they are the same, as much of the paths as tells them apart."""
    if _label(one) != _label(other):
        return _label(one), _label(other)
    first, second = (PurePath(origin.key).parts for origin in (one, other))
    for count in range(2, min(len(first), len(second)) + 1):
        if first[-count:] != second[-count:]:
            return "/".join(first[-count:]), "/".join(second[-count:])
    return f"{_label(one)} ({one.kind})", f"another {_label(other)} ({other.kind})"


def _label(origin: Origin) -> str:
    return origin.label or origin.key or origin.kind
