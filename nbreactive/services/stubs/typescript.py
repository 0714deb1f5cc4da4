"""``api.d.ts`` and ``dataModel.d.ts``, with the ``api.js`` that they describe: for clients in TypeScript.

The form is that of Convex's own generated files, so that its packages (``convex/browser``, ``convex/react``) infer
arguments and results from ``api.chat.send`` as they do there.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from nbreactive.functions.generated import document_validator
from nbreactive.functions.schema import BUILT_IN_INDEXES
from nbreactive.functions.specs import FunctionSpec, SearchIndexSpec, TableSpec, VectorIndexSpec, Visibility
from nbreactive.services.stubs.tree import Node, function_tree, is_pagination_options
from nbreactive.values.json import from_jsonable
from nbreactive.values.kinds import Int64
from nbreactive.values.validators import from_json

HEAD: Final = """/* eslint-disable */
// Written by nbreactive whenever functions are deployed; changes made here are lost.
"""
API_JS: Final = f"""{HEAD}import {{ anyApi }} from "convex/server";

export const api = anyApi;
export const internal = anyApi;
"""
_identifier = re.compile(r"[A-Za-z_$][A-Za-z0-9_$]*", re.ASCII).fullmatch
_KINDS: Final = {
    "null": "null", "number": "number", "bigint": "bigint", "boolean": "boolean", "string": "string",
    "bytes": "ArrayBuffer", "any": "any",
}  # fmt: skip


def api_types(functions: Sequence[FunctionSpec]) -> str:
    """Return the text of ``api.d.ts``."""
    lines = [
        HEAD + 'import type { FunctionReference, PaginationOptions } from "convex/server";',
        'import type { GenericId as Id } from "convex/values";',
        "",
    ]
    for root, visibility in (("api", "public"), ("internal", "internal")):
        tree = function_tree(functions, visibility)  # type: ignore[arg-type]
        lines += [f"export declare const {root}: {{", *_members(tree, visibility, "  "), "};", ""]
    return "\n".join(lines)


def _members(node: Node, visibility: Visibility | str, indent: str) -> Iterator[str]:
    for name in sorted(node.children):
        child = node.children[name]
        spec = child.function
        reference = _reference(spec) if spec is not None else ""
        if spec is not None and spec.doc:
            yield from comment(spec.doc, indent)
        if not child.children:
            yield f"{indent}{key(name)}: {reference};"
            continue
        yield f"{indent}{key(name)}: {reference + ' & ' if reference else ''}{{"
        yield from _members(child, visibility, indent + "  ")
        yield f"{indent}}};"


def _reference(spec: FunctionSpec) -> str:
    returns = type_of(spec.returns) if spec.returns is not None else "any"
    return f'FunctionReference<"{spec.kind}", "{spec.visibility}", {type_of(spec.args)}, {returns}>'


def data_model_types(tables: Sequence[TableSpec], *, complete: bool) -> str:
    """Return the text of ``dataModel.d.ts``; unless ``complete``, there may be tables that no schema has."""
    lines = [
        HEAD + "import type {",
        "  AnyDataModel, DocumentByName, SystemTableNames, TableNamesInDataModel,",
        '} from "convex/server";',
        'import type { GenericId } from "convex/values";',
        "",
        "/** The documents and indexes of each table. */",
        "export type DataModel = {",
    ]
    for table in sorted(tables, key=lambda each: each.name):
        document = document_validator(table.name, from_json(table.validator)).to_json()
        paths = sorted(set(_field_paths(document)))
        indexes = {"by_id": ["_id"], "by_creation_time": ["_creationTime"]} | {
            name: [*fields, "_creationTime"] for name, fields in table.indexes.items() if name not in BUILT_IN_INDEXES
        }
        lines += [
            f"  {key(table.name)}: {{",
            f"    document: {type_of(document, ids='GenericId')};",
            f"    fieldPaths: {' | '.join(map(json.dumps, paths)) or 'string'};",
            "    indexes: {",
            *(f"      {key(name)}: {json.dumps(fields)};" for name, fields in indexes.items()),
            "    };",
            *_other_indexes("searchIndexes", "searchField", table.search_indexes),
            *_other_indexes("vectorIndexes", "vectorField", table.vector_indexes),
            "  };",
        ]
    lines += [
        "}" + ("" if complete and tables else " & AnyDataModel") + ";",
        "",
        "/** The names of the tables. */",
        "export type TableNames = TableNamesInDataModel<DataModel>;",
        "",
        '/** A document: `Doc<"posts">`. */',
        "export type Doc<TableName extends TableNames> = DocumentByName<DataModel, TableName>;",
        "",
        '/** The id of a document, a string: `Id<"posts">`. */',
        "export type Id<TableName extends TableNames | SystemTableNames> = GenericId<TableName>;",
    ]
    return "\n".join(lines) + "\n"


def _other_indexes(
    kind: str, field: str, indexes: Mapping[str, SearchIndexSpec] | Mapping[str, VectorIndexSpec]
) -> Iterator[str]:
    if not indexes:
        yield f"    {kind}: {{}};"
        return
    yield f"    {kind}: {{"
    for name, index in indexes.items():
        yield f"      {key(name)}: {{"
        yield f"        {field}: {json.dumps(index.field)};"
        if isinstance(index, VectorIndexSpec):
            yield f"        dimensions: {index.dimensions};"
        yield f"        filterFields: {' | '.join(map(json.dumps, index.filter_fields)) or 'never'};"
        yield "      };"
    yield "    };"


def type_of(validator: Mapping[str, Any], *, ids: str = "Id") -> str:
    """Return the type of a validator.

    Examples
    --------
    >>> type_of({"type": "array", "value": {"type": "union", "value": [{"type": "null"}, {"type": "bigint"}]}})
    'Array<null | bigint>'
    """
    match validator["type"]:
        case "id":
            return f"{ids}<{json.dumps(validator['tableName'])}>"
        case "literal":
            return _literal(from_jsonable(validator["value"]))
        case "array":
            return f"Array<{type_of(validator['value'], ids=ids)}>"
        case "record":
            keys, values = type_of(validator["keys"], ids=ids), type_of(validator["values"]["fieldType"], ids=ids)
            return f"Record<{keys}, {values}>"
        case "object" if is_pagination_options(validator):
            return "PaginationOptions"
        case "object":
            fields = [
                f"{key(name)}{'?' * each['optional']}: {type_of(each['fieldType'], ids=ids)}"
                for name, each in validator["value"].items()
            ]
            return "{ " + "; ".join(fields) + " }" if fields else "Record<string, never>"  # {} would take anything
        case "union":
            members = dict.fromkeys(type_of(member, ids=ids) for member in validator["value"])
            return " | ".join(members) or "never"
        case kind:
            return _KINDS.get(kind, "any")


def key(name: str) -> str:
    """Return a name as the key of an object type."""
    return name if _identifier(name) else json.dumps(name)


def comment(text: str, indent: str) -> Iterable[str]:
    """Return the lines of a JSDoc comment, which nothing in the text ends."""
    lines = text.replace("*/", "*\\/").splitlines()
    if len(lines) == 1:
        return [f"{indent}/** {lines[0]} */"]
    return [f"{indent}/**", *(f"{indent} * {line}".rstrip() for line in lines), f"{indent} */"]


def _literal(value: Any) -> str:
    if isinstance(value, Int64):
        return f"{value}n"
    if isinstance(value, (bool, str)):
        return json.dumps(value)
    return json.dumps(value) if math.isfinite(value) else "number"


def _field_paths(validator: Mapping[str, Any], before: str = "") -> Iterator[str]:
    match validator["type"]:
        case "object":
            for name, each in validator["value"].items():
                yield before + name
                yield from _field_paths(each["fieldType"], f"{before}{name}.")
        case "union":
            for member in validator["value"]:
                yield from _field_paths(member, before)
        case _:
            pass
