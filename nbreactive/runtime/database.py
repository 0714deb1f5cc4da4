"""``ctx.db``: documents as plain dicts, read at the snapshot of the call and written on top of it.

A :class:`DatabaseReader` is what queries get, a :class:`DatabaseWriter` what mutations get. Values are checked on
their way in (value model, schema of the table, size), so the engine and every replica can rely on what is stored;
tables without a schema come into being with their first document.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, NoReturn, cast

from nbreactive.engine.catalog import BATCHES, CREATION_TIME, FIRST_USER_TABLE, PRESENCE, SCHEDULED, STORAGE
from nbreactive.engine.stored_files import ADDRESS
from nbreactive.errors import InvalidId, InvalidValue, NotAllowed, SchemaError
from nbreactive.runtime.missing_tables import tell
from nbreactive.runtime.query import Document, Query
from nbreactive.runtime.sql import SqlRows, select
from nbreactive.runtime.tables import Table
from nbreactive.runtime.transaction import Found, Transaction
from nbreactive.values.checks import check_document
from nbreactive.values.ids import Id, decode_id, encode_id
from nbreactive.values.instants import instant_of
from nbreactive.values.limits import IDENTIFIER
from nbreactive.values.packing import pack, unpack
from nbreactive.values.sizes import check_document_size

_ID = "_id"


class DatabaseReader:
    """The database of a query.

    Examples
    --------
    Inside of a function::

        ctx.db.get(post_id)
        ctx.db.query("posts").with_index("by_author", lambda q: q.eq("author_id", a)).order("desc").take(10)
    """

    __slots__ = ("_private", "_txn")

    def __init__(self, txn: Transaction, private: bool = False) -> None:
        self._txn = txn
        self._private = private

    def at(self, when: Any) -> DatabaseReader:
        """The database as it was: ``ctx.db.at("2026-11-01 12:00").query("orders")``.

        It shows what may have been deleted since, so it is for internal functions and for callers who may deploy.

        Parameters
        ----------
        when
            ISO text (UTC unless it says otherwise), an aware datetime, milliseconds, or the timestamp of a commit.
        """
        if not self._private:
            raise NotAllowed(
                "ctx.db.at(...) shows what may have been deleted since, so it is for internal functions and for callers"
                " who may deploy: make this an @internal_query, or read the past in one that this function runs"
            )
        return DatabaseReader(self._txn.at(instant_of(when, "ctx.db.at")))

    def get(self, *table_and_id: str) -> Document | None:
        """The document with an id, or None; ``get(id)``, or ``get("posts", id)`` to insist on its table."""
        id = table_and_id[-1] if table_and_id else None
        if len(table_and_id) > 2:
            raise InvalidValue("get takes an id, or a table and an id")
        table, internal = self._locate(id, "get")
        if len(table_and_id) == 2 and (table is None or table.info.name != table_and_id[0]):
            raise InvalidId(f"get: {id!r} is not an id of table {table_and_id[0]!r}{_is_of(table)}")
        found = self._txn.document(table.info, internal) if table is not None else None
        return self._open(table, internal, found.packed) if table is not None and found is not None else None

    def query(self, table: str) -> Query:
        """Begin a query of a table; one that does not exist (yet) is empty."""
        _check_table_name(table)
        found = self._txn.table(table)
        if found is None:
            tell(self._txn, table)
        else:
            _refuse_columns(found)
        return Query(self._txn, table, found, self._open)

    def normalize_id(self, table: str, id: str) -> Id | None:
        """``id`` as an id of ``table``, or None if it is none."""
        _check_table_name(table)
        try:
            number, internal = decode_id(id)
        except (InvalidId, TypeError):
            return None
        found = self._txn.table(table)
        return encode_id(number, internal) if found is not None and found.info.number == number else None

    def table_of(self, id: str) -> str | None:
        """Name of the table that a well-formed id belongs to."""
        table = self._txn.table_number(decode_id(id)[0])
        return table.info.name if table is not None else None

    def sql(self, text: str, /, **params: Any) -> SqlRows:
        """Run a SELECT over the tables: ``ctx.db.sql("SELECT author, count(*) AS n FROM posts GROUP BY author")``.

        It sees what the function sees: the snapshot of the call, and in a mutation what it has written. The result is a
        sequence of dicts, which may be returned as it is, with ``.rows()``, ``.df()``, ``.pl()`` and ``.arrow()``.

        Parameters
        ----------
        text
            One SELECT, in DuckDB's SQL.
        **params
            Values of ``$name`` in the text.
        """
        return select(self._txn, text, params, earlier=self._private)

    @property
    def system(self) -> SystemReader:
        """The tables of the system that functions may read: ``ctx.db.system.query("_scheduled_functions")``."""
        return SystemReader(self._txn)

    if not TYPE_CHECKING:  # a type checker finds what is not there

        def __getattr__(self, name: str) -> NoReturn:
            if name in ("insert", "patch", "replace", "delete"):
                raise NotAllowed(
                    f"a query cannot write: ctx.db.{name} exists in mutations; make the function a @mutation"
                )
            raise AttributeError(
                f"ctx.db has no {name!r}; it has get, query, sql, at, normalize_id, system, insert, patch, replace, delete"
            )

    def _locate(self, id: object, what: str) -> tuple[Table | None, bytes]:
        if not isinstance(id, str):
            raise InvalidId(f'{what} takes the id of a document, not {id!r:.60}; it is in document["_id"]')
        number, internal = decode_id(id)
        if number < FIRST_USER_TABLE:
            return None, internal
        return self._txn.table_number(number), internal

    def _open(self, table: Table, id: bytes, packed: bytes) -> Document:
        document: Document = unpack(packed)
        if table.load is not None:
            created = document.pop(CREATION_TIME)
            document = table.load(document)
            document[CREATION_TIME] = created
        document[_ID] = encode_id(table.info.number, id)
        return document


class SystemReader(DatabaseReader):
    """Tables of the system: read like any other, and live like any other."""

    __slots__ = ()

    def sql(self, text: str, /, **params: Any) -> SqlRows:  # noqa: ARG002
        """Tables of the system are not in SQL."""
        raise NotAllowed("tables of the system are not in SQL; ctx.db.sql(...) reads your own")

    def query(self, table: str) -> Query:
        """Begin a query of a table of the system."""
        return Query(self._txn, table, self._named(table), self._open)

    def normalize_id(self, table: str, id: str) -> Id | None:
        """``id`` as an id of ``table``, or None if it is none."""
        found = self._named(table)
        try:
            number, internal = decode_id(id)
        except (InvalidId, TypeError):
            return None
        return encode_id(number, internal) if found.info.number == number else None

    def _locate(self, id: object, what: str) -> tuple[Table | None, bytes]:
        if not isinstance(id, str):
            raise InvalidId(f'{what} takes the id of a document, not {id!r:.60}; it is in document["_id"]')
        number, internal = decode_id(id)
        if number not in _SYSTEM_TABLES.values():
            return None, internal
        return self._txn.table_number(number), internal

    def _open(self, table: Table, id: bytes, packed: bytes) -> Document:
        document = super()._open(table, id, packed)
        if table.info.number == STORAGE:
            del document[ADDRESS]  # by which anybody could read the file
        return document

    def _named(self, name: object) -> Table:
        if name not in _SYSTEM_TABLES:
            known = ", ".join(_SYSTEM_TABLES)
            raise NotAllowed(
                f"ctx.db.system has the tables {known}, not {name!r:.80}; ctx.db.query(...) reads your own"
            )
        table = self._txn.table(str(name))
        assert table is not None
        return table


class DatabaseWriter(DatabaseReader):
    """The database of a mutation: it sees its own writes."""

    __slots__ = ()

    def insert(self, table: str, document: Document) -> Id:
        """Store a new document and return its id; UNSET fields are left out."""
        _check_table_name(table)
        found = self._txn.table(table)
        if found is not None:
            _refuse_columns(found)
        checked = self._checked(table, found, document)
        if found is None:
            tell(self._txn, table, inserts=True)
            found = self._txn.create_table(table)
        id = self._txn.new_id()
        checked[CREATION_TIME] = self._txn.next_creation_time()
        self._store(found, id, checked, None)
        return encode_id(found.info.number, id)

    def patch(self, *table_id_and_fields: Any, **unknown: Any) -> None:
        """Change some fields of a document: ``patch(id, {"likes": 3, "draft": UNSET})``; UNSET removes one."""
        if unknown:
            fields = ", ".join(f'"{name}": ...' for name in unknown)
            raise InvalidValue(f"patch takes the fields as a dict, not as keywords: ctx.db.patch(id, {{{fields}}})")
        table, internal, found, fields = self._target("patch", table_id_and_fields)
        stored: Document = unpack(found.packed)
        given = self._without_system_fields(table, internal, stored, fields, "patch")
        merged = {name: value for name, value in stored.items() if name != CREATION_TIME}
        merged.update(given)
        self._put(table, internal, merged, stored, found)

    def replace(self, *table_id_and_document: Any) -> None:
        """Replace a document; it keeps its id and its ``_creationTime``."""
        table, internal, found, document = self._target("replace", table_id_and_document)
        stored: Document = unpack(found.packed)
        given = self._without_system_fields(table, internal, stored, document, "replace")
        self._put(table, internal, given, stored, found)

    def delete(self, *table_and_id: str) -> None:
        """Delete a document."""
        table, internal, found, _ = self._target("delete", (*table_and_id, None))
        self._txn.write(table.info, internal, None, found)

    def _target(self, what: str, args: tuple[Any, ...]) -> tuple[Table, bytes, Found, Any]:
        if len(args) not in (2, 3):
            raise InvalidValue(f"{what} takes the id of a document{'' if what == 'delete' else ' and a dict'}")
        id, value = args[-2:]
        table, internal = self._locate(id, what)
        if len(args) == 3 and (table is None or table.info.name != args[0]):
            raise InvalidId(f"{what}: {id!r} is not an id of table {args[0]!r}{_is_of(table)}")
        found = self._txn.document(table.info, internal) if table is not None else None
        if table is None or found is None:
            raise InvalidId(f"{what}: there is no document {id!r}; it may have been deleted: ask ctx.db.get(id) first")
        return table, internal, found, value

    def _without_system_fields(
        self, table: Table, id: bytes, stored: Document, given: object, what: str
    ) -> dict[Any, Any]:
        if not isinstance(given, dict):
            raise InvalidValue(f"{what} takes a dict of fields, not {given!r:.60}")
        given = cast("dict[Any, Any]", given)
        # A document that was read, changed and handed back carries its system fields: fine as long as they are its own.
        if _ID not in given and CREATION_TIME not in given:
            return given
        own = {_ID: encode_id(table.info.number, id), CREATION_TIME: stored[CREATION_TIME]}
        for name, value in own.items():
            if given.get(name, value) != value:
                raise SchemaError(f"{what}: {name} is {value!r} and cannot become {given[name]!r}; leave it out", name)
        return {name: value for name, value in given.items() if name not in own}

    def _put(self, table: Table, id: bytes, document: Document, stored: Document, found: Found) -> None:
        checked = self._checked(table.info.name, table, document)
        checked[CREATION_TIME] = stored[CREATION_TIME]
        self._store(table, id, checked, found)

    def _checked(self, name: str, table: Table | None, document: Any) -> Document:
        validator = table.validator if table is not None else None
        return check_document(document, name, validator=validator, table_of=self.table_of)

    def _store(self, table: Table, id: bytes, document: Document, found: Found | None) -> None:
        packed = pack(document)
        check_document_size(document, packed, table.info.name)
        self._txn.write(table.info, id, packed, found)


def _refuse_columns(table: Table) -> None:
    if table.info.storage == "columns":
        name = table.info.name
        raise NotAllowed(
            f"the rows of {name!r} are kept in columns (storage='columns'):"
            f" load them with nbreactive.load({name!r}, ...), and read them by SQL:"
            f" nbreactive.sql('FROM {name}'), in functions ctx.db.sql(...)"
        )


def _is_of(table: Table | None) -> str:
    return f"; it is one of {table.info.name!r}" if table is not None else ""


def _check_table_name(name: object) -> None:
    if isinstance(name, str) and name in _GOOD_NAMES:
        return
    if not isinstance(name, str):
        raise InvalidValue(f"a table is named by a string, not {name!r:.60}")
    if name.startswith("_"):
        raise NotAllowed(
            f"{name!r:.80} is a table of the system, which ctx.db.system can read and nobody can write"
            if name in _SYSTEM_TABLES
            else f'{name!r:.80} is a table of the system (names that start with "_" are); functions cannot use it'
        )
    if not (name.isascii() and name.isidentifier()) or len(name) > IDENTIFIER:
        raise InvalidValue(
            f"{name!r:.80} cannot be the name of a table: letters, digits and _, starting with a letter, at most"
            f" {IDENTIFIER} characters"
        )
    if len(_GOOD_NAMES) < 10_000:
        _GOOD_NAMES.add(name)


_GOOD_NAMES: set[str] = set()
_SYSTEM_TABLES: Final[Mapping[str, int]] = {
    "_scheduled_functions": SCHEDULED,
    "_storage": STORAGE,
    "_presence": PRESENCE,
    "_batches": BATCHES,
}
