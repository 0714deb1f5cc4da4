"""Stale copies: a module has one origin, and may only be changed from its newest version."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import NoReturn

from nbreactive.errors import StaleModule
from nbreactive.functions.specs import ModuleSource
from nbreactive.services.stored_modules import StoredModule

_DIFF_LINES = 400


def refuse_stale(current: StoredModule, wanted: ModuleSource, base: Mapping[str, int | None]) -> None:
    """Raise :class:`StaleModule` if ``wanted`` comes from elsewhere than ``current``, or does not know it."""
    held = current.origin
    if (held.kind, held.key) != (wanted.origin.kind, wanted.origin.key):
        _refuse(current, wanted, f"it belongs to {_origin(current)}, this copy comes from {_label(wanted)}")
    if wanted.name in base and base[wanted.name] != current.version:
        seen = base[wanted.name]
        known = "has not seen any version of it" if seen is None else f"was made from version {seen}"
        _refuse(
            current, wanted, f"version {current.version} by {current.author} is newer than this copy, which {known}"
        )


def unified_diff(old: str, new: str, old_label: str, new_label: str) -> str:
    """The difference of two sources, at most a few hundred lines of it."""
    lines = list(difflib.unified_diff(old.splitlines(), new.splitlines(), old_label, new_label, lineterm=""))
    if len(lines) > _DIFF_LINES:
        lines = [*lines[:_DIFF_LINES], f"... {len(lines) - _DIFF_LINES} more lines"]
    return "\n".join(lines)


def _refuse(current: StoredModule, wanted: ModuleSource, why: str) -> NoReturn:
    diff = unified_diff(
        current.source, wanted.source, f"deployed (version {current.version})", f"this copy ({_label(wanted)})"
    )
    message = f"the module {current.name!r} was not deployed: {why}; look at the diff, take over what you need, or use --force to replace it"
    raise StaleModule(message, diff, current.summary())


def _origin(module: StoredModule) -> str:
    return (
        f"{module.origin.label or module.origin.key or module.origin.kind} ({module.author}, version {module.version})"
    )


def _label(module: ModuleSource) -> str:
    return module.origin.label or module.origin.key or module.origin.kind
