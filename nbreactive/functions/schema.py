"""Schemas: which tables there are, what their documents hold, and by which fields they are found.

``define_schema({"posts": define_table({"title": v.string()}).index("by_title", ["title"])})``. Any module may hold one
for its own tables; the deployment's schema is their union. Definitions are immutable and check themselves: whatever is
wrong raises when the module is imported.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Literal

from nbreactive.errors import SchemaError
from nbreactive.functions.paths import identifier_problem
from nbreactive.functions.specs import SearchIndexSpec, TableSpec, VectorIndexSpec
from nbreactive.values.checks import field_problem
from nbreactive.values.limits import (
    DOCUMENT_NESTING,
    FIELDS_PER_INDEX,
    FILTER_FIELDS,
    INDEXES_PER_TABLE,
    SEARCH_INDEXES_PER_TABLE,
    TABLES,
    VECTOR_DIMENSIONS,
    VECTOR_INDEXES_PER_TABLE,
    over,
)
from nbreactive.values.validators import ObjectValidator, UnionValidator, Validator, v

BUILT_IN_INDEXES = ("by_id", "by_creation_time")


class TableDefinition:
    """One table: the validator of its documents and its indexes.

    Attributes
    ----------
    validator
        An object, a union of objects, or ``v.any()``.
    indexes
        Name -> fields, without the ``_creationTime`` that ends every index.
    search_indexes, vector_indexes
        Name -> what it finds documents by.
    ephemeral
        Its documents live in memory only: presence, cursors, telemetry.
    storage
        ``"columns"``: its rows are kept in columns, for bulk loads and SQL only.
    """

    __slots__ = ("ephemeral", "indexes", "search_indexes", "storage", "validator", "vector_indexes")

    def __init__(
        self,
        validator: Validator,
        indexes: Mapping[str, Sequence[str]],
        *,
        ephemeral: bool,
        search_indexes: Mapping[str, SearchIndexSpec] | None = None,
        vector_indexes: Mapping[str, VectorIndexSpec] | None = None,
        storage: Literal["rows", "columns"] = "rows",
    ) -> None:
        self.storage: Literal["rows", "columns"] = storage
        self.validator = validator
        self.indexes: dict[str, list[str]] = {name: list(fields) for name, fields in indexes.items()}
        self.ephemeral = ephemeral
        self.search_indexes = dict(search_indexes or {})
        self.vector_indexes = dict(vector_indexes or {})

    def index(self, name: str, fields: Sequence[str]) -> TableDefinition:
        """Return the table with one more index.

        Parameters
        ----------
        name
            How ``with_index`` calls it.
        fields
            The fields that it sorts by, first the first; ``"address.city"`` is a field of an object. Documents that
            are equal in all of them are sorted by ``_creationTime``, which is not written here.
        """
        where = self._check_name(name, "indexes", len(self.indexes), INDEXES_PER_TABLE)
        if isinstance(fields, str) or not fields:
            raise SchemaError('an index takes a list of one field or more; write ["author"]', where)
        _check_fields(fields, self.validator, where)
        return self._with(indexes={**self.indexes, name: fields})

    def search_index(self, name: str, *, search_field: str, filter_fields: Sequence[str] = ()) -> TableDefinition:
        """Return the table with one more search index, which finds documents by the words in one field.

        Parameters
        ----------
        name
            How ``with_search_index`` calls it.
        search_field
            The field that holds the text. Documents in which it is no string are not found.
        filter_fields
            Fields by which searches may narrow down what they find: ``q.search("title", text).eq("status", "live")``.

        Examples
        --------
        >>> define_table({"title": v.string()}).search_index("by_words", search_field="title")
        define_table(v.object({'title': v.string()})).search_index('by_words', search_field='title')
        """
        where = self._check_name(name, "search indexes", len(self.search_indexes), SEARCH_INDEXES_PER_TABLE)
        _check_one(search_field, "search_field", self.validator, where)
        _check_filter(filter_fields, search_field, self.validator, where)
        spec = SearchIndexSpec(search_field, tuple(filter_fields))
        return self._with(search_indexes={**self.search_indexes, name: spec})

    def vector_index(
        self, name: str, *, vector_field: str, dimensions: int, filter_fields: Sequence[str] = ()
    ) -> TableDefinition:
        """Return the table with one more vector index, which finds the documents nearest to a vector.

        Parameters
        ----------
        name
            How a search calls it.
        vector_field
            The field that holds the vector, a list of numbers. Documents in which it is none of the right length are
            not found.
        dimensions
            How long the vectors are, from 2 to 4096.
        filter_fields
            Fields by which searches may narrow down what they find.

        Examples
        --------
        >>> define_table({"e": v.array(v.number())}).vector_index("near", vector_field="e", dimensions=3)
        define_table(v.object({'e': v.array(v.number())})).vector_index('near', vector_field='e', dimensions=3)
        """
        where = self._check_name(name, "vector indexes", len(self.vector_indexes), VECTOR_INDEXES_PER_TABLE)
        _check_one(vector_field, "vector_field", self.validator, where)
        fewest, most = VECTOR_DIMENSIONS
        if isinstance(dimensions, bool) or not isinstance(dimensions, int) or not fewest <= dimensions <= most:  # pyright: ignore[reportUnnecessaryIsInstance]
            raise SchemaError(f"dimensions is a whole number from {fewest} to {most}, not {dimensions!r:.60}", where)
        _check_filter(filter_fields, vector_field, self.validator, where)
        spec = VectorIndexSpec(vector_field, dimensions, tuple(filter_fields))
        return self._with(vector_indexes={**self.vector_indexes, name: spec})

    def spec(self, name: str, module: str, line: int = 0) -> TableSpec:
        """Return the description that travels."""
        return TableSpec(
            name,
            module,
            self.validator.to_json(),
            dict(self.indexes),
            self.ephemeral,
            line,
            self.search_indexes,
            self.vector_indexes,
            self.storage,
        )

    def _with(
        self,
        indexes: Mapping[str, Sequence[str]] | None = None,
        search_indexes: Mapping[str, SearchIndexSpec] | None = None,
        vector_indexes: Mapping[str, VectorIndexSpec] | None = None,
    ) -> TableDefinition:
        return TableDefinition(
            self.validator,
            indexes or self.indexes,
            ephemeral=self.ephemeral,
            search_indexes=search_indexes or self.search_indexes,
            vector_indexes=vector_indexes or self.vector_indexes,
        )

    def _check_name(self, name: str, what: str, count: int, most: int) -> str:
        """Check the name of a new index, and that there may be one more of its kind; returns where that is."""
        where = f"index {name!r}"
        if self.storage == "columns":
            raise SchemaError(
                "a table with storage='columns' has no indexes: SQL finds its rows by scans; remove it", where
            )
        if name in BUILT_IN_INDEXES:
            raise SchemaError(f"every table has {name} already; remove it, or rename it", where)
        problem = identifier_problem(name, "an index")
        if problem:
            raise SchemaError(problem)
        if name in self.indexes or name in self.search_indexes or name in self.vector_indexes:
            raise SchemaError("the table has an index of that name already; rename one of them", where)
        if count >= most:
            raise SchemaError(over(what, count + 1, most, "remove one"), where)
        return where

    def __repr__(self) -> str:
        storage = f", storage={self.storage!r}" * (self.storage != "rows")
        text = f"define_table({self.validator!r}{storage})"
        text += "".join(f".index({name!r}, {fields!r})" for name, fields in self.indexes.items())
        for name, search in self.search_indexes.items():
            text += f".search_index({name!r}, search_field={search.field!r}{_filter_of(search)})"
        for name, vector in self.vector_indexes.items():
            text += f".vector_index({name!r}, vector_field={vector.field!r}, dimensions={vector.dimensions}{_filter_of(vector)})"
        return text


class SchemaDefinition:
    """The tables that one module defines.

    Attributes
    ----------
    tables
        Name -> definition.
    validation
        Whether documents are checked on write; without, the schema is for indexes and types only.
    """

    __slots__ = ("tables", "validation")

    def __init__(self, tables: Mapping[str, TableDefinition], *, validation: bool) -> None:
        self.tables = dict(tables)
        self.validation = validation

    def specs(self, module: str, line: int = 0) -> list[TableSpec]:
        """Return the descriptions of the tables, as they travel."""
        return [table.spec(name, module, line) for name, table in self.tables.items()]

    def __repr__(self) -> str:
        return f"define_schema({self.tables!r})"


def define_table(
    documents: Mapping[str, Validator] | Validator,
    *,
    ephemeral: bool = False,
    storage: Literal["rows", "columns"] = "rows",
) -> TableDefinition:
    """Define a table by what its documents hold.

    Parameters
    ----------
    documents
        Field -> validator; or a validator: of an object, of a union of objects, or ``v.any()`` for free-form documents.
        The system fields ``_id`` and ``_creationTime`` are there by themselves.
    ephemeral
        Keep the documents in memory only; they are gone after a restart.
    storage
        ``"columns"``: for facts by the million, which are loaded in bulk and read by SQL. There are no indexes, and functions
        do not see the rows.

    Examples
    --------
    >>> define_table({"title": v.string()}).index("by_title", ["title"])
    define_table(v.object({'title': v.string()})).index('by_title', ['title'])
    """
    validator = v.object(documents) if isinstance(documents, Mapping) else documents
    objects = validator.members if isinstance(validator, UnionValidator) else (validator,)
    for each in objects:
        if isinstance(each, ObjectValidator):
            for name in each.fields:
                problem = field_problem(name)
                if problem:
                    raise SchemaError(problem, name)
        elif each != v.any() or len(objects) > 1:
            raise SchemaError(f"documents are objects, not {each!r}; use v.object(...), a union of them, or v.any()")
    depth = validator.nesting()
    if depth > DOCUMENT_NESTING:
        raise SchemaError(over("levels of nesting in a document", depth, DOCUMENT_NESTING, "flatten it"))
    if storage not in ("rows", "columns"):
        raise SchemaError(f"storage is 'rows' or 'columns', not {storage!r:.60}")
    if storage == "columns":
        if ephemeral:
            raise SchemaError("a table is either ephemeral or kept in columns; remove one of the two")
        if not isinstance(validator, ObjectValidator) or not validator.fields:
            raise SchemaError(
                "the rows of a table with storage='columns' all have the same fields; name them in a dict"
            )
    return TableDefinition(validator.required(), {}, ephemeral=ephemeral, storage=storage)


def define_schema(tables: Mapping[str, TableDefinition], *, schema_validation: bool = True) -> SchemaDefinition:
    """Define the tables of a module.

    Parameters
    ----------
    tables
        Name -> what :func:`define_table` returned.
    schema_validation
        Check documents on write, and the stored ones when this is deployed.

    Examples
    --------
    >>> define_schema({"_posts": define_table({})})
    Traceback (most recent call last):
    nbreactive.errors.SchemaError: the name of a table cannot be '_posts': names that start with "_" are the system's; \
rename it
    """
    if len(tables) > TABLES:
        raise SchemaError(over("tables", len(tables), TABLES, "keep several kinds of documents in one table"))
    for name, table in tables.items():
        problem = identifier_problem(name, "a table")
        if problem:
            raise SchemaError(problem)
        if not isinstance(table, TableDefinition):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise SchemaError(f"a table is what define_table() returns, not {table!r:.60}; wrap it", name)
    return SchemaDefinition(tables, validation=schema_validation)


def _check_fields(fields: Sequence[str], validator: Validator, where: str) -> None:
    if len(fields) > FIELDS_PER_INDEX:
        raise SchemaError(over("fields in an index", len(fields), FIELDS_PER_INDEX, "leave some out"), where)
    for position, field in enumerate(fields):
        if field.startswith("_"):
            note = "_creationTime ends every index by itself, and by_id finds by _id"
            raise SchemaError(f"the system field {field!a:.60} cannot be indexed ({note}); leave it out", where)
        if field in fields[:position]:
            raise SchemaError(f"the field {field!r} is there twice; keep one of them", where)
        for step in field.split("."):
            problem = field_problem(step)
            if problem:
                raise SchemaError(f"the field {field!a:.60}: {problem}", where)
        _check_reach(validator, field.split("."), field, where)


def _check_one(field: object, what: str, validator: Validator, where: str) -> None:
    if not isinstance(field, str) or not field:
        raise SchemaError(f'{what} is the name of one field, not {field!r:.60}; write {what}="text"', where)
    _check_fields([field], validator, where)


def _check_filter(fields: Sequence[str], indexed: str, validator: Validator, where: str) -> None:
    if isinstance(fields, str) or not all(isinstance(field, str) for field in fields):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise SchemaError('filter_fields takes a list of fields; write filter_fields=["status"]', where)
    if len(fields) > FILTER_FIELDS:
        raise SchemaError(over("filter fields in an index", len(fields), FILTER_FIELDS, "leave some out"), where)
    if indexed in fields:
        raise SchemaError(f"the field {indexed!r} is what it finds by, and no filter; leave it out", where)
    _check_fields(fields, validator, where)


def _filter_of(index: SearchIndexSpec | VectorIndexSpec) -> str:
    return f", filter_fields={list(index.filter_fields)!r}" if index.filter_fields else ""


def _check_reach(validator: Validator, steps: list[str], field: str, where: str) -> None:
    """Refuse a field that no document of the table can have; through unions, one member that has it is enough."""
    names = validator.columns()
    if names is None or _reaches(validator, steps):
        return
    near = get_close_matches(steps[0], names, 1)
    fix = (
        f"did you mean {near[0]!r}?"
        if near and near[0] != steps[0]
        else f"the fields are: {', '.join(names) or 'none'}"
    )
    raise SchemaError(f"documents of the table have no field {field!r}; {fix}", where)


def _reaches(validator: Validator, steps: list[str]) -> bool:
    if not steps:
        return True
    if isinstance(validator, UnionValidator):
        return any(_reaches(member, steps) for member in validator.members)
    if isinstance(validator, ObjectValidator):
        return steps[0] in validator.fields and _reaches(validator.fields[steps[0]], steps[1:])
    return validator.kind in ("any", "record")
