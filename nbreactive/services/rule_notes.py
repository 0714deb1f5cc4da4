"""What a deploy does to tables by its row rules, without their names being in it."""

from __future__ import annotations

import difflib
from collections.abc import Collection

from nbreactive.functions.specs import Manifest, RuleSpec

_NAMED = 10


def rule_notes(
    before: Manifest, tables_before: Collection[str], after: Manifest, tables: Collection[str]
) -> tuple[str, ...]:
    """Tell which tables a deploy closes to public functions, or makes closed, and which of its rules are about none.

    Examples
    --------
    >>> none = Manifest(0, (), ())
    >>> ruled = Manifest(1, (), (), rules=(RuleSpec("notes", ("read",), "app", 7),))
    >>> here = ["notes", "posts"]
    >>> rule_notes(none, ["notes"], ruled, ["notes"]), rule_notes(ruled, here, ruled, here)
    ((), ())
    >>> rule_notes(none, here, ruled, here)[0][:75]
    'now that there are row rules, tables without are closed to public functions'
    """
    notes: list[str] = []
    closed = sorted(set(_closed(after, tables)) - set(_closed(before, tables_before)))
    if closed:
        named = ", ".join(closed[:_NAMED]) + (f" and {len(closed) - _NAMED} more" if len(closed) > _NAMED else "")
        notes.append(
            f"now that there are row rules, tables without are closed to public functions: {named}; open one to everybody"
            f" with rules({closed[0]!r}, read=True, insert=True, modify=True), or say who may do what"
        )
    known = {rule.table for rule in before.rules}
    notes += [_unknown(rule, tables) for rule in after.rules if rule.table not in known and rule.table not in tables]
    return tuple(notes)


def _closed(manifest: Manifest, tables: Collection[str]) -> Collection[str]:
    return set(tables) - {rule.table for rule in manifest.rules} if manifest.rules else ()


def _unknown(rule: RuleSpec, tables: Collection[str]) -> str:
    near = difflib.get_close_matches(rule.table, tables, 1)
    hint = f"; did you mean {near[0]!r}?" if near else " yet"
    return f"rules({rule.table!r}) in reactive/{rule.module}.py, line {rule.line}: there is no table of that name{hint}"
