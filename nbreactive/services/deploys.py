"""Deploying functions: prepare everything beside the running deployment, then flip in one tiny commit.

Prepare = import the new set of modules in a process of its own, build new indexes while commits maintain them, look at
stored documents with the new validators, get workers ready. Flip = one transaction that writes modules, tables and
history, during which the pool of workers is switched: whoever runs after it runs the new code, whoever ran the old code
across it loses validation, because every execution has read the list of modules. So live queries re-run by
themselves, and a deploy that is refused anywhere on the way has changed nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from nbreactive.engine.catalog import DEPLOYS, MODULES, Catalog
from nbreactive.engine.row_index import Reader
from nbreactive.engine.transactions import Write
from nbreactive.errors import DeployRefused, Unavailable
from nbreactive.functions.specs import Bundle, FunctionSpec, Manifest, ModuleSource, Origin
from nbreactive.services.copies import refuse_removal, refuse_stale, same_origin
from nbreactive.services.cron_documents import cron_writes
from nbreactive.services.rule_notes import rule_notes
from nbreactive.services.schema_change import MovedError, SchemaChange
from nbreactive.services.stored_modules import (
    DeployRecord,
    StoredModule,
    deploy_documents,
    module_document,
    read_history,
    read_modules,
)
from nbreactive.values.limits import DOCUMENT_SIZE, WRITTEN_BYTES, over

if TYPE_CHECKING:
    from nbreactive.engine.engine import Engine

TOO_LONG = "took more than"
"""In the message of an import that was given up."""
_ATTEMPTS = 5
_NAMED = 20
"""Versions that an error names at most."""


class CodeHost(Protocol):
    """What a deploy asks of the worker pool."""

    async def prepare(self, bundle: Bundle) -> Manifest:
        """Import a bundle beside the running one; raises :class:`DeployRefused`."""
        ...

    async def activate(self, version: int) -> None:
        """Get workers of a prepared version ready."""
        ...

    def switch(self, version: int) -> None:
        """Run everything from now on in that version."""
        ...

    def drop(self, version: int) -> None:
        """Forget a version that is not used."""
        ...


class DeployRequest(msgspec.Struct, kw_only=True):
    """What somebody wants to be deployed."""

    modules: list[ModuleSource] = []
    remove: list[str] = []
    base: dict[str, int | None] = {}
    """The version of each module that this copy was made from; null: none was ever seen."""
    origin: Origin | None = None
    """Where the wish to remove comes from; null: from one who need not own what is removed."""
    force: bool = False
    message: str = ""


class Deployed(msgspec.Struct, frozen=True):
    """What a deploy did."""

    version: int
    unchanged: bool
    modules: list[dict[str, Any]]
    rerun: int
    warnings: tuple[str, ...] = ()
    """What the row rules do that their author may not have meant."""
    """Live queries that were run again."""


class Deployer:
    """Owns what is deployed.

    Parameters
    ----------
    engine
        Where modules, tables and documents are.
    host
        The worker pool.
    """

    def __init__(self, engine: Engine, host: CodeHost) -> None:
        self._engine = engine
        self._host = host
        self._lock = asyncio.Lock()
        self._stored: dict[str, StoredModule] = {}
        self._version = 0
        self._active = 0
        self._functions: dict[str, FunctionSpec] = {}
        self.manifest = Manifest(0, (), ())
        self.problem: DeployRefused | None = None
        """Why the stored modules could not be imported at start."""
        self.on_settled: Callable[[], None] | None = None
        """Called when it is certain what is deployed: a deploy is in, or was undone."""
        self.on_providers: Callable[[], None] = lambda: None
        """Called when other sign-in providers are deployed than before."""
        self.after_deploy: Callable[[], Awaitable[None]] | None = None
        """Awaited before a deploy that has changed something is answered; it does not raise."""

    @property
    def version(self) -> int:
        """The version of the last deploy."""
        return self._version

    @property
    def functions(self) -> Mapping[str, FunctionSpec]:
        """The deployed functions, by path."""
        return self._functions

    @property
    def modules(self) -> list[StoredModule]:
        """The deployed modules, by name."""
        return [self._stored[name] for name in sorted(self._stored)]

    async def start(self) -> None:
        """Load what is deployed; a module that cannot be imported any more leaves the server running without functions."""
        reader, ts = self._engine.reader(), self._engine.applied
        self._stored = {name: module for name, (_, _, module) in read_modules(reader, ts).items()}
        self._version = max((record.version for record in read_history(reader, ts)), default=0)
        if not self._stored:
            return
        try:
            manifest = await self._host.prepare(self._bundle(self._version, self._sources()))
        except DeployRefused as error:
            self.problem = error
            return
        await self._host.activate(self._version)
        self._host.switch(self._version)
        self._use(manifest)

    # ---- changing ----------------------------------------------------------------------------------------

    async def deploy(self, request: DeployRequest, author: str, *, import_seconds: float | None = None) -> Deployed:
        """Deploy, or change nothing and say why; ``import_seconds`` bounds the import more than usual.

        Raises
        ------
        StaleModule
            A module was changed by somebody else.
        DeployRefused
            The code, the schema or stored documents do not allow it.
        """
        async with self._lock:
            changed = self._changes(request)
            if not changed and self.problem is None:
                return self._result([module.name for module in request.modules], True, 0)
            sources = self._sources()
            for name, module in changed.items():
                if module is None:
                    del sources[name]
                else:
                    sources[name] = module
            version, before, tables_before = self._version + 1, self.manifest, self._tables()
            try:
                async with asyncio.timeout(import_seconds):
                    manifest = await self._host.prepare(self._bundle(version, sources))
            except TimeoutError:
                names = ", ".join(f"reactive/{module.name}.py" for module in request.modules) or "the modules"
                raise DeployRefused(
                    f"importing {names} {TOO_LONG} {import_seconds:g} s; do no work at import"
                ) from None
            try:
                rerun = await self._flip(manifest, changed, author, request.message)
            except BaseException:
                self._host.switch(self._active)
                self._host.drop(version)
                self._settled()
                raise
            self.problem = None
            self._settled()
            if self.after_deploy is not None:
                await self.after_deploy()
            result = self._result([name for name, module in changed.items() if module is not None], False, rerun)
            warnings = rule_notes(before, tables_before, self.manifest, self._tables())
            return msgspec.structs.replace(result, warnings=warnings)

    async def rollback(self, module: str, version: int, author: str, origin: Origin | None = None) -> Deployed:
        """Deploy the source that ``version`` brought of a module again.

        Whoever has deployed the module before, from ``origin``, owns it after this: rolling one's own change back does
        not give the module away, and rolling another's back gets it back.
        """
        old = self._brought(module).get(version)
        if old is None:
            raise self._no_version(module, f"there is no version {version} of {module[:100]}")
        code = msgspec.structs.replace(old.code, origin=self._owner_after(module, old, author, origin))
        request = DeployRequest(modules=[code], force=True, message=f"rollback of {module} to version {version}")
        return await self.deploy(request, author)

    def version_before(self, module: str) -> int:
        """The version of a module before the current one: of a removed module its last, else the last other source."""
        current = self._stored.get(module)
        for version, old in self._brought(module).items():
            if current is None or (version < current.version and old.source != current.source):
                return version
        raise self._no_version(module, f"there is no version of {module[:100]} before the current one")

    def _owner_after(self, module: str, old: StoredModule, author: str, origin: Origin | None) -> Origin:
        if origin is not None and any(same_origin(one.origin, origin) for one in self._brought(module).values()):
            return origin
        current = self._stored.get(module)
        return current.origin if current is not None and current.author == author else old.origin

    def _source_at(self, module: str, version: int) -> str | None:
        found = self._brought(module).get(version)
        return None if found is None else found.source

    def _brought(self, module: str) -> dict[int, StoredModule]:
        found = {record.version: record.modules[module] for record in self.history(module)}
        return {version: stored for version, stored in found.items() if stored is not None}

    def _no_version(self, module: str, what: str) -> DeployRefused:
        versions = sorted(self._brought(module))
        if not versions:
            known = ", ".join(sorted(self._stored)) or "none"
            return DeployRefused(f"no module {module[:100]!r} was ever deployed; deployed modules: {known}")
        newest = ", ".join(map(str, versions[-_NAMED:]))
        return DeployRefused(
            f"{what}; there {'are' if len(versions) > 1 else 'is'} {'... ' * (len(versions) > _NAMED)}{newest}"
        )

    # ---- looking -----------------------------------------------------------------------------------------

    def history(self, module: str | None = None) -> list[DeployRecord]:
        """All deploys, newest first; those that changed ``module``."""
        records = read_history(self._engine.reader(), self._engine.durable)
        return [record for record in records if module is None or module in record.modules]

    def module_at(self, module: str, version: int | None = None) -> StoredModule:
        """A module as it was when ``version`` was the newest; None: as it is."""
        if version is None and module in self._stored:
            return self._stored[module]
        records = [record for record in self.history(module) if version is None or record.version <= version]
        found = records[0].modules[module] if records else None
        if found is None:
            known = ", ".join(sorted(self._stored)) or "none"
            raise DeployRefused(
                f"there is no module {module[:100]!r} at version {version}; deployed modules: {known}; see the history for versions"
            )
        return found

    def functions_of(self, module: str) -> list[FunctionSpec]:
        """The functions of one module."""
        return [spec for path, spec in self._functions.items() if path.rpartition(":")[0] == module]

    # ---- inside ------------------------------------------------------------------------------------------

    def _sources(self) -> dict[str, ModuleSource]:
        return {name: module.code for name, module in self._stored.items()}

    def _bundle(self, version: int, sources: Mapping[str, ModuleSource]) -> Bundle:
        return Bundle(version, tuple(sources[name] for name in sorted(sources)))

    def _tables(self) -> list[str]:
        return [name for name in self._engine.catalog().by_name if not name.startswith("_")]

    def _settled(self) -> None:
        if self.on_settled is not None:
            self.on_settled()

    def _use(self, manifest: Manifest) -> None:
        before, self.manifest = self.manifest, manifest
        if manifest.providers != before.providers:
            self.on_providers()
        self._active = manifest.version
        self._functions = {spec.path: spec for spec in manifest.functions}

    def _changes(self, request: DeployRequest) -> dict[str, ModuleSource | None]:
        changed: dict[str, ModuleSource | None] = {}
        for module in request.modules:
            current = self._stored.get(module.name)
            if (
                current is not None
                and current.source == module.source
                and (current.origin == module.origin or not request.force)
            ):
                continue
            if current is not None and not request.force:
                refuse_stale(current, module, request.base, self._source_at)
            changed[module.name] = module
        for name in request.remove:
            if name not in self._stored:
                known = ", ".join(sorted(self._stored)) or "none"
                raise DeployRefused(f"there is no module {name[:100]!r} to remove; deployed modules: {known}")
            if request.origin is not None and not request.force:
                refuse_removal(self._stored[name], request.origin, request.base, self._source_at)
            changed[name] = None
        _refuse_size([module for module in changed.values() if module is not None])
        return changed

    async def _flip(
        self, manifest: Manifest, changed: Mapping[str, ModuleSource | None], author: str, message: str
    ) -> int:
        await self._host.activate(manifest.version)
        schema = SchemaChange(self._engine, manifest)
        try:
            for _ in range(_ATTEMPTS):
                await schema.prepare()
                with contextlib.suppress(MovedError):
                    return await self._commit(manifest, schema, changed, author, message)
            raise Unavailable("tables kept changing while this deploy was looking at them; try again")
        except BaseException:
            await asyncio.shield(schema.abandon())
            raise

    async def _commit(
        self,
        manifest: Manifest,
        schema: SchemaChange,
        changed: Mapping[str, ModuleSource | None],
        author: str,
        message: str,
    ) -> int:
        version, now = manifest.version, _now()
        rerun = 0
        after: dict[str, StoredModule | None] = {
            name: StoredModule(name, module.source, module.origin, version, author, now) if module is not None else None
            for name, module in changed.items()
        }
        records = deploy_documents(DeployRecord(version, now, author, message, after))

        def flip(reader: Reader, catalog: Catalog, ts: int) -> list[Write]:
            nonlocal rerun
            writes = schema.writes(reader, catalog, ts)
            stored = read_modules(reader, ts)
            for name, module in after.items():
                id, previous = stored[name][:2] if name in stored else (self._engine.new_internal(), 0)
                writes.append(Write(MODULES, id, module_document(module) if module is not None else None, previous))
            writes += [Write(DEPLOYS, self._engine.new_internal(), record) for record in records]
            writes += cron_writes(manifest.crons, reader, ts, int(now), self._engine.new_internal)
            rerun = len(self._engine.subscriptions)
            self._host.switch(version)
            return writes

        await self._engine.transact(flip)
        for name, module in after.items():
            if module is None:
                self._stored.pop(name, None)
            else:
                self._stored[name] = module
        previous, self._version = self._active, version
        self._use(manifest)
        self._host.drop(previous)
        return rerun

    def _result(self, names: Iterable[str], unchanged: bool, rerun: int) -> Deployed:
        modules = [
            {
                "name": name,
                "version": self._stored[name].version if name in self._stored else self._version,
                "functions": [msgspec.to_builtins(spec) for spec in self.functions_of(name)],
            }
            for name in names
        ]
        return Deployed(self._version, unchanged, modules, rerun)


def _refuse_size(modules: Iterable[ModuleSource]) -> None:
    total = 0
    for module in modules:
        size = len(module.source.encode("utf-8", "surrogatepass"))
        total += size
        if size > DOCUMENT_SIZE:
            what, fix = f"bytes of source in the module {module.name[:100]!r}", "split it, or keep its data in a table"
            raise DeployRefused(over(what, size, DOCUMENT_SIZE, fix))
    if total > WRITTEN_BYTES * 3 // 4:
        what = "bytes of source in one deploy"
        raise DeployRefused(over(what, total, WRITTEN_BYTES * 3 // 4, "deploy some modules first, then the others"))


def _now() -> float:
    return float(time.time_ns() // 1_000_000)
