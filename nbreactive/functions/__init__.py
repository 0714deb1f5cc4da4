"""What modules of server functions import: decorators, schema, references. Metadata only; running is elsewhere."""

from __future__ import annotations

from nbreactive.functions.binding import bind
from nbreactive.functions.decorators import (
    Function,
    action,
    internal_action,
    internal_mutation,
    internal_query,
    mutation,
    query,
)
from nbreactive.functions.paths import canonical_path, function_path
from nbreactive.functions.references import Reference, api, internal, reference
from nbreactive.functions.schema import SchemaDefinition, TableDefinition, define_schema, define_table

__all__ = [
    "Function",
    "Reference",
    "SchemaDefinition",
    "TableDefinition",
    "action",
    "api",
    "bind",
    "canonical_path",
    "define_schema",
    "define_table",
    "function_path",
    "internal",
    "internal_action",
    "internal_mutation",
    "internal_query",
    "mutation",
    "query",
    "reference",
]
