"""Descriptions of deployed code, as plain data: what travels between worker, backend and clients."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

Kind = Literal["query", "mutation", "action", "http_action"]
Visibility = Literal["public", "internal", "system"]


class Origin(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where a module comes from: one cell of one notebook, one file of the functions folder, or the API."""

    kind: Literal["cell", "file", "api"]
    label: str = ""
    """What to show a person: ``analysis.ipynb``, ``reactive/chat.py``."""
    key: str = ""
    """What makes it the same origin again: notebook path, file path. Same kind and key = same origin."""


class ModuleSource(msgspec.Struct, frozen=True):
    """One module of server functions; ``name`` is its path in references: ``chat``, ``admin/users``."""

    name: str
    source: str
    origin: Origin


class Bundle(msgspec.Struct, frozen=True):
    """All modules of a deployment at one version; immutable, so that workers are, too."""

    version: int
    modules: tuple[ModuleSource, ...]


class FunctionSpec(msgspec.Struct, frozen=True):
    """One deployed function."""

    path: str
    """``module:name``, e.g. ``chat:send``, ``admin/users:list``."""
    kind: Kind
    visibility: Visibility
    args: dict[str, Any]
    """The validator of the arguments, in Convex's JSON form."""
    returns: dict[str, Any] | None = None
    doc: str = ""
    line: int = 0


class SearchIndexSpec(msgspec.Struct, frozen=True):
    """One search index: the field whose text is searched, and those that searches may filter by."""

    field: str
    filter_fields: tuple[str, ...] = ()


class VectorIndexSpec(msgspec.Struct, frozen=True):
    """One vector index: the field that holds vectors, and those that searches may filter by."""

    field: str
    dimensions: int
    filter_fields: tuple[str, ...] = ()


class TableSpec(msgspec.Struct, frozen=True):
    """One table of the schema; ``validator`` in Convex's JSON form (an object or a union of objects, or any)."""

    name: str
    module: str
    validator: dict[str, Any]
    indexes: dict[str, list[str]] = {}
    ephemeral: bool = False
    line: int = 0
    search_indexes: dict[str, SearchIndexSpec] = {}
    vector_indexes: dict[str, VectorIndexSpec] = {}
    storage: Literal["rows", "columns"] = "rows"


class CronSpec(msgspec.Struct, frozen=True):
    """One cron job."""

    name: str
    schedule: dict[str, Any]
    """``{"type": "interval", "seconds": 30}``, ``{"type": "daily", "hourUTC": 9}``: Convex's form."""
    function: str
    """The path of what it runs."""
    args: bytes
    """Packed."""
    module: str = ""
    line: int = 0


class RouteSpec(msgspec.Struct, frozen=True):
    """Which HTTP action answers which requests."""

    method: str
    path: str
    prefix: bool
    function: str
    """The path of the HTTP action."""
    module: str = ""
    line: int = 0


Algorithm = Literal["RS256", "ES256"]


class ProviderSpec(msgspec.Struct, frozen=True):
    """Whose tokens a deployment believes; see :mod:`nbreactive.functions.auth_config`."""

    type: Literal["oidc", "customJwt", "session"]
    issuer: str
    application_id: str | None = None
    jwks: str = ""
    """Where the keys are, or the keys themselves (a ``data:`` URI); empty: found by discovery."""
    algorithms: tuple[Algorithm, ...] = ()
    function: str = ""
    """Of sessions: the path of the internal query that says who holds a token."""
    module: str = ""
    line: int = 0


class RuleSpec(msgspec.Struct, frozen=True):
    """One table with row rules, and which of its operations they may allow."""

    table: str
    operations: tuple[str, ...]
    module: str = ""
    line: int = 0


class Manifest(msgspec.Struct, frozen=True):
    """What importing a bundle found: its functions and the union of its schemas."""

    version: int
    functions: tuple[FunctionSpec, ...]
    tables: tuple[TableSpec, ...]
    schema_validation: bool = True
    threads: tuple[str, ...] = ()
    """Modules whose import started threads, so that workers are spawned rather than forked."""
    crons: tuple[CronSpec, ...] = ()
    routes: tuple[RouteSpec, ...] = ()
    providers: tuple[ProviderSpec, ...] = ()
    rules: tuple[RuleSpec, ...] = ()
    """Row rules; as soon as there is one, tables without are closed to public functions."""


class Issue(msgspec.Struct, frozen=True, omit_defaults=True):
    """One reason why a deploy was refused."""

    file: str
    line: int
    reason: str
    fix: str = ""
    column: int = 0
