"""``rules``: who may see, insert and change which rows of a table.

A rule is a function of ``ctx`` and a document that returns True or False, or simply True. What a rule is not given for is
not allowed; as soon as a deployment has any rules, tables without are closed. They hold in public functions; see
:mod:`nbreactive.runtime.rules` for how.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from typing import Any, Final

from nbreactive.errors import InvalidValue
from nbreactive.functions.paths import identifier_problem
from nbreactive.functions.specs import RuleSpec

Rule = Callable[..., bool] | bool
"""``rule(ctx, doc)``, or the same for all rows."""

KEPT: Final = "__nbreactive_rules__"
"""The name under which a module keeps its rules."""
_PACKAGE: Final = "reactive"
OPERATIONS: Final = ("read", "insert", "modify")


class TableRules:
    """The rules of one table."""

    __slots__ = ("insert", "line", "modify", "read", "table")

    def __init__(self, table: str, read: Rule, insert: Rule, modify: Rule, line: int = 0) -> None:
        problem = identifier_problem(table, "a table")
        if problem:
            raise InvalidValue(problem)
        self.table = table
        self.read: Rule = _checked(read, table, "read")
        self.insert: Rule = _checked(insert, table, "insert")
        self.modify: Rule = _checked(modify, table, "modify")
        self.line = line

    def spec(self, module: str) -> RuleSpec:
        """Return the description that travels."""
        allowed = tuple(name for name in OPERATIONS if getattr(self, name) is not False)
        return RuleSpec(self.table, allowed, module, self.line)

    def __repr__(self) -> str:
        return f"rules({self.table!r})"


def rules(table: str, *, read: Rule = False, insert: Rule = False, modify: Rule = False) -> TableRules:
    """Say who may do what with the rows of a table; at the top level of a module, once per table.

    Parameters
    ----------
    table
        The table.
    read
        ``rule(ctx, doc)`` for each row that a public function would get or count; those for which it says False are not
        there for it.
    insert
        Asked with the new document.
    modify
        For patch, replace and delete: asked with the document as it is and as it would be.

    Examples
    --------
    ::

        def is_member(ctx, room):
            me = ctx.auth.get_user_identity()
            found = ctx.db.query("members").with_index("by_room_user", lambda q: q.eq("room", room).eq("user", me["subject"]))
            return found.first() is not None

        rules("messages", read=lambda ctx, doc: is_member(ctx, doc["room"]), insert=lambda ctx, doc: is_member(ctx, doc["room"]))
        rules("rooms", read=True)
    """
    frame = sys._getframe(1)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - whose rules these are
    name = str(frame.f_globals.get("__name__"))
    if frame.f_code.co_name != "<module>" or not (name == _PACKAGE or name.startswith(f"{_PACKAGE}.")):
        raise InvalidValue(
            f"rules({table!r:.60}) is called by {name}, where it would have no effect; call it at the top level of a module"
            " of server functions (a file of the functions folder, a %%reactive deploy cell)"
        )
    made = TableRules(table, read, insert, modify, frame.f_lineno)
    frame.f_globals.setdefault(KEPT, []).append(made)
    return made


def _checked(rule: Any, table: str, operation: str) -> Any:
    where = f"rules({table!r:.80}, {operation}=...)"
    if isinstance(rule, bool):
        return rule
    function: Any = rule
    if not callable(function) or inspect.iscoroutinefunction(function) or inspect.isgeneratorfunction(function):
        raise InvalidValue(
            f'it takes True, or a plain function like lambda ctx, doc: doc["open"], not {function!r:.60}', where
        )
    try:
        inspect.signature(function).bind(None, None)
    except TypeError:
        raise InvalidValue("its function takes two arguments, ctx and the document", where) from None
    return function
