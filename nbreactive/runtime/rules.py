"""Row rules at work: the ``ctx.db`` of public functions, as soon as a deployment has rules.

The rules hold in public functions, for whoever calls them and wherever they are called from. Internal functions are
exempt, however they are reached: their code decides, and nobody else can call them. So are holders of keys with the role
``deploy`` who act for nobody, since they may call internal functions anyway. Tables of the system are not covered.

Rules themselves read with no rules, in the transaction of the function: so what they have read is in its read set, and a
membership that is revoked runs the live queries again that it allowed anything. A row that may not be read is not there:
``get`` gives None, ranges, counts, pages and searches leave it out, and writing to it fails as it does for one that was
deleted.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nbreactive.errors import InvalidId, InvalidValue, RuleRefused
from nbreactive.functions.rules import Rule, TableRules
from nbreactive.runtime.database import DatabaseReader, DatabaseWriter
from nbreactive.runtime.filters import Filter
from nbreactive.runtime.output import CallLog
from nbreactive.runtime.query import Document, Query
from nbreactive.runtime.sql import SqlRows, select
from nbreactive.runtime.tables import Table
from nbreactive.runtime.transaction import Found, Transaction
from nbreactive.values.packing import pack


class Guard:
    """Asks the rules.

    Parameters
    ----------
    rules
        By table.
    ctx
        What rules are given: it reads without rules.
    log
        Where it is said that a table has none.
    """

    __slots__ = ("_ctx", "_log", "_rules", "_told")

    def __init__(self, rules: Mapping[str, TableRules], ctx: Any, log: CallLog) -> None:
        self._rules = rules
        self._ctx = ctx
        self._log = log
        self._told: set[str] = set()

    def filter(self, table: str) -> Filter | None:
        """What leaves out the rows of a table that may not be read; None: all may."""
        rule = self._rule(table, "read")
        if rule is True:
            return None

        def holds(document: Mapping[str, Any]) -> bool:
            return self._holds(rule, table, "read", document)

        return Filter(holds, ["rules"])

    def open_tables(self) -> list[str]:
        """Tables of which everybody may read all rows."""
        return [table for table, rules in self._rules.items() if rules.read is True]

    def allows(self, operation: str, table: str, document: Mapping[str, Any]) -> bool:
        """Whether an operation with a document is allowed."""
        return self._holds(self._rule(table, operation), table, operation, document)

    def never(self, operation: str, table: str) -> bool:
        """Whether an operation is not allowed with any document."""
        return self._rule(table, operation) is False

    def _rule(self, table: str, operation: str) -> Rule:
        rules = self._rules.get(table)
        if rules is not None:
            return getattr(rules, operation)
        if table not in self._told:
            self._told.add(table)
            text = f"this deployment has row rules, and none for the table {table!r}: it is closed to public functions"
            self._log.add("WARN", f"{text}; write rules({table!r}, read=...), or read it in an internal function")
        return False

    def _holds(self, rule: Rule, table: str, operation: str, document: Mapping[str, Any]) -> bool:
        answer: object = rule if isinstance(rule, bool) else rule(self._ctx, document)
        if answer is True or answer is False:
            return answer
        raise InvalidValue(
            f"the {operation} rule of {table!r} returned {answer!r:.60}; rules return True or False:"
            " compare (is not None), or use bool(...)"
        )


class RuledReader(DatabaseReader):
    """``ctx.db`` of a public query in a deployment with rules."""

    __slots__ = ("_guard",)

    def __init__(self, txn: Transaction, guard: Guard) -> None:
        super().__init__(txn)
        self._guard = guard

    def get(self, *table_and_id: str) -> Document | None:
        """The document with an id, or None, also if it may not be read."""
        document = super().get(*table_and_id)
        table = self.table_of(document["_id"]) if document is not None else None
        return document if document is not None and table and self._guard.allows("read", table, document) else None

    def query(self, table: str) -> Query:
        """Begin a query of a table, or rather of what may be read of it."""
        query = super().query(table)
        only = self._guard.filter(table)
        return query if only is None else query.configured(_filters=(only,))

    def sql(self, text: str, /, **params: Any) -> SqlRows:
        """Run a SELECT over tables of which everybody may read all rows: SQL does not know of rules."""
        return select(self._txn, text, params, self._guard.open_tables())


class RuledWriter(RuledReader, DatabaseWriter):
    """``ctx.db`` of a public mutation in a deployment with rules."""

    __slots__ = ()

    def insert(self, table: str, document: Document) -> Any:
        """Store a new document, if that is allowed."""
        if self._guard.never("insert", table):
            raise _refused("insert", table)
        return super().insert(table, document)

    def _target(self, what: str, args: tuple[Any, ...]) -> tuple[Table, bytes, Found, Any]:
        table, internal, found, value = super()._target(what, args)
        document, name = self._open(table, internal, found.packed), table.info.name
        if not self._guard.allows("read", name, document):
            raise InvalidId(
                f"{what}: there is no document {args[-2]!r}; it may have been deleted: ask ctx.db.get(id) first"
            )
        if not self._guard.allows("modify", name, document):
            raise _refused(what, name)
        return table, internal, found, value

    def _store(self, table: Table, id: bytes, document: Document, found: Found | None) -> None:
        operation = "insert" if found is None else "modify"
        if not self._guard.allows(operation, table.info.name, self._open(table, id, pack(document))):
            raise _refused(operation, table.info.name)
        super()._store(table, id, document, found)


def _refused(what: str, table: str) -> RuleRefused:
    return RuleRefused(f"this {what} is not allowed by the row rules of {table!r}")
