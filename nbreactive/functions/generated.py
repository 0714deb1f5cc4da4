"""``reactive._generated`` inside of a deployment, where there are no generated files.

On disk ``data_model.py`` holds a class for the documents of each table (``Posts``) and one for their ids (``PostsId``). A
deployed module may import them too, although nobody knows the tables before all modules have been imported. So there
every name of the data model is a :class:`TypeName`, which hints of arguments and results look up once the tables are
known (:func:`define_types`).
"""

from __future__ import annotations

import keyword
from collections.abc import Iterable
from typing import Any, Final, NoReturn, Union

from nbreactive.errors import SchemaError
from nbreactive.functions.paths import PACKAGE
from nbreactive.functions.specs import TableSpec
from nbreactive.values.ids import Id
from nbreactive.values.validators import ObjectValidator, UnionValidator, Validator, from_json, v

FOLDER: Final = "_generated"
SOURCES: Final = {
    FOLDER: "",
    f"{FOLDER}/api": "from nbreactive.functions.references import api, internal\n",
    f"{FOLDER}/server": "from nbreactive.runtime.typed import ActionCtx, BlockingActionCtx, MutationCtx, QueryCtx\n",
    f"{FOLDER}/data_model": "from nbreactive.functions.generated import type_name as __getattr__\n",
}
"""The modules as a deployment has them, by name."""
MODULES: Final = frozenset(f"{PACKAGE}.{name.replace('/', '.')}" for name in SOURCES)
"""What they are imported as."""

_RESERVED: Final = frozenset(keyword.kwlist) | frozenset(
    {
        *("Any", "Id", "Int64", "Literal", "Never", "NotRequired", "TYPE_CHECKING", "TypedDict"),
        *("ActionReference", "Bound", "Live", "MutationReference", "Paginated", "QueryReference"),
        *("Mapping", "Sequence"),
        *("ActionCtx", "BlockingActionCtx", "MutationCtx", "QueryCtx"),
        *("Callable", "DatabaseReader", "IndexRange", "SearchFilter", "TypedQuery", "Unset"),
    }
)
"""What the generated files cannot use as the name of a class, or use themselves."""

_types: dict[str, Validator] = {}


def class_names(tables: Iterable[str]) -> dict[str, str]:
    """Return the class of each table's documents; that of their ids has ``Id`` behind it.

    Examples
    --------
    >>> class_names(["posts", "blog_posts", "blogPosts", "none"])
    {'blogPosts': 'BlogPosts', 'blog_posts': 'BlogPosts2', 'none': 'None2', 'posts': 'Posts'}
    """
    taken = set(_RESERVED)
    names: dict[str, str] = {}
    for table in sorted(tables):
        base = "".join(part[:1].upper() + part[1:] for part in table.split("_"))
        name, number = base, 1
        while name in taken or f"{name}Id" in taken:
            number += 1
            name = f"{base}{number}"
        taken |= {name, f"{name}Id"}
        names[table] = name
    return names


def document_validator(table: str, validator: Validator) -> Validator:
    """Return the validator of documents as they are read: with ``_id`` and ``_creationTime``."""
    if isinstance(validator, UnionValidator):
        return v.union(*(document_validator(table, member) for member in validator.members))
    if isinstance(validator, ObjectValidator):
        return v.object({"_id": v.id(table), "_creationTime": v.number(), **validator.fields})
    return validator


def define_types(tables: Iterable[TableSpec]) -> None:
    """Say what the names of the data model mean from now on."""
    found = {table.name: table for table in tables}
    _types.clear()
    for table, name in class_names(found).items():
        _types[name] = document_validator(table, from_json(found[table].validator))
        _types[f"{name}Id"] = v.id(table)


class TypeName:
    """A class of the data model that is known by its name only; hints resolve it later."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def validator(self) -> Validator:
        """Return what it stands for, or raise :class:`~nbreactive.errors.SchemaError`."""
        found = _types.get(self.name)
        if found is None:
            known = ", ".join(sorted(_types)) or "none, since no module defines a table"
            raise SchemaError(f"the data model has no type {self.name}; its types are: {known}")
        return found

    def __call__(self, *given: Any, **fields: Any) -> Any:
        """Make a dict, or an id, as the class itself would."""
        return Id(given[0]) if len(given) == 1 and isinstance(given[0], str) else dict(*given, **fields)

    def __or__(self, other: Any) -> Any:
        return Union[self, other]  # noqa: UP007 (this is what makes | work)

    def __ror__(self, other: Any) -> Any:
        return Union[other, self]  # noqa: UP007

    def __mro_entries__(self, _bases: tuple[Any, ...]) -> NoReturn:
        raise SchemaError(
            f"{self.name} is made from the schema, which is not known yet while modules are imported, so no class can"
            " extend it; write out a TypedDict"
        )

    def __repr__(self) -> str:
        return self.name


def type_name(name: str) -> TypeName:
    """Return a name of the data model: the ``__getattr__`` of the module."""
    if name.startswith("_"):
        raise AttributeError(f"module '{PACKAGE}.{FOLDER}.data_model' has no attribute {name!r}")
    return TypeName(name)
