"""A table that does not exist is empty, and comes with its first document; but its name may also be misspelt.

Whoever uses such a name is told in the log of the call, once, where that is likely: beside a schema, which makes the tables that
it declares, or beside a table of nearly the same name. No table is read for it in a way that a read set would know of: what is
said concerns nobody's result.
"""

from __future__ import annotations

from difflib import get_close_matches
from typing import Final

from nbreactive.engine.catalog import FIRST_USER_TABLE
from nbreactive.runtime.transaction import Transaction

_NEAR: Final = 0.8
_SHOWN: Final = 10


def tell(txn: Transaction, name: str, *, inserts: bool = False) -> None:
    """Warn, if it is likely to be a mistake, of a table that does not exist.

    Parameters
    ----------
    txn
        The transaction of the call.
    name
        The table.
    inserts
        Whether it is being made by a first document; else it is read.
    """
    told = txn.told = txn.told or set()
    if txn.log is None or (name, inserts) in told:
        return
    told.add((name, inserts))
    tables = [table for table in txn.catalog().by_name.values() if table.number >= FIRST_USER_TABLE]
    declared = sorted(table.name for table in tables if table.module or table.validator is not None)
    near = get_close_matches(name, [table.name for table in tables], 1, _NEAR)
    if not near and not declared:
        return
    text = (
        f"ctx.db.insert({name!r}, ...) makes the table {name!r}, which the schema does not declare"
        if inserts and declared
        else f"ctx.db.insert({name!r}, ...) makes the table {name!r}"
        if inserts
        else f"ctx.db.query({name!r}): there is no such table, so it is empty"
    )
    if near:
        text += f"; did you mean {near[0]!r}?"
    else:
        more = ", ..." if len(declared) > _SHOWN else ""
        text += f"; the schema declares {', '.join(declared[:_SHOWN])}{more}"
    txn.log.add("WARN", text)
