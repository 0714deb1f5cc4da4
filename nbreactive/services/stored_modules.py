"""Deployed modules and the history of deploys, as documents of the reserved tables."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import msgspec

from nbreactive.engine.catalog import BY_CREATION_TIME, CREATION_TIME, DEPLOYS, MODULES, SnapshotReader, index_id
from nbreactive.engine.read_set import END
from nbreactive.functions.specs import ModuleSource, Origin
from nbreactive.values.limits import DOCUMENT_SIZE
from nbreactive.values.packing import pack, unpack


class StoredModule(msgspec.Struct, frozen=True):
    """One deployed module."""

    name: str
    source: str
    origin: Origin
    version: int
    """The version of the deployment that brought this source."""
    author: str
    time: float
    """ms since the epoch."""

    @property
    def code(self) -> ModuleSource:
        """What workers import."""
        return ModuleSource(self.name, self.source, self.origin)

    def summary(self) -> dict[str, Any]:
        """Everything but the source."""
        return {
            "name": self.name,
            "version": self.version,
            "origin": msgspec.to_builtins(self.origin),
            "author": self.author,
            "time": self.time,
            "hash": source_hash(self.source),
        }


class DeployRecord(msgspec.Struct, frozen=True):
    """One deploy in the history; ``modules`` holds what it changed, None for removed ones."""

    version: int
    time: float
    author: str
    message: str
    modules: dict[str, StoredModule | None]

    def summary(self) -> dict[str, Any]:
        """Everything but the sources."""
        changed = {name: module.summary() if module is not None else None for name, module in self.modules.items()}
        return {
            "version": self.version,
            "time": self.time,
            "author": self.author,
            "message": self.message,
            "modules": changed,
        }


def source_hash(source: str) -> str:
    """A short name for a source text."""
    return hashlib.sha256(source.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def module_document(module: StoredModule) -> bytes:
    """The document of ``_modules``."""
    return pack(module.summary() | {"source": module.source, CREATION_TIME: module.time})


def deploy_documents(record: DeployRecord) -> list[bytes]:
    """The documents of ``_deploys``: one, or several with some modules each if all of them are too long for one."""
    parts: list[dict[str, Any]] = [{}]
    room = DOCUMENT_SIZE
    for name, module in msgspec.to_builtins(record.modules).items():
        size = len(pack(module))
        if size > room and parts[-1]:
            parts.append({})
            room = DOCUMENT_SIZE
        parts[-1][name] = module
        room -= size
    said = msgspec.to_builtins(record) | {CREATION_TIME: record.time}
    return [pack(said | {"modules": modules}) for modules in parts]


def read_modules(reader: SnapshotReader, ts: int) -> dict[str, tuple[bytes, int, StoredModule]]:
    """All deployed modules by name: document id, version of the document, module."""
    found: dict[str, tuple[bytes, int, StoredModule]] = {}
    for id, doc, version in _documents(reader, MODULES, ts):
        module = msgspec.convert(unpack(doc), StoredModule, strict=False)
        found[module.name] = (id, version, module)
    return found


def read_history(reader: SnapshotReader, ts: int) -> list[DeployRecord]:
    """All deploys, newest first."""
    records: dict[int, DeployRecord] = {}
    for _, doc, _ in _documents(reader, DEPLOYS, ts):
        record = msgspec.convert(unpack(doc), DeployRecord, strict=False)
        if record.version in records:
            modules = records[record.version].modules | record.modules
            record = msgspec.structs.replace(record, modules=modules)
        records[record.version] = record
    return sorted(records.values(), key=lambda record: -record.version)


def _documents(reader: SnapshotReader, table: int, ts: int) -> Iterator[tuple[bytes, bytes, int]]:
    for _, id in reader.scan(index_id(table, BY_CREATION_TIME), b"", END, ts):
        found = reader.document(table, id, ts)
        if found is not None:
            yield id, *found
