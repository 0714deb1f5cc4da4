"""The machinery below the doors: log, row index, store.duckdb, function workers, engine, deployer.

They are opened in the order in which they depend on each other and closed in the opposite one. A row index that is
absent or not to be believed is filled from store.duckdb first, which is faster than replaying the whole log; the log
then brings what the store does not have yet, and alone has everything. A log that ends before store.duckdb does, or
before the index, is not the one they were made from: then nothing is opened and nothing is changed.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from nbreactive.columns.supervisor import Columns
from nbreactive.engine import _trust
from nbreactive.engine._index_builder import Part
from nbreactive.engine.clock import SystemClock
from nbreactive.engine.engine import Engine
from nbreactive.engine.engine_limits import EngineLimits
from nbreactive.engine.feed import entries_after, last_ts
from nbreactive.engine.files import Disk, FileSystem
from nbreactive.engine.log import CommitLog
from nbreactive.engine.recovery import Documents
from nbreactive.engine.row_index import RowIndex
from nbreactive.engine.segments import SegmentLog
from nbreactive.engine.upload_tokens import upload_key
from nbreactive.errors import DataFolderError, Unavailable
from nbreactive.functions.specs import Manifest
from nbreactive.runtime import system_panel
from nbreactive.runtime.action_pool import ActionPool
from nbreactive.runtime.pool import Pool
from nbreactive.runtime.storage import NOWHERE, URL
from nbreactive.server.data_folder import cursor_key
from nbreactive.server.reset import STORE
from nbreactive.services.actions import Actions
from nbreactive.services.background import Background
from nbreactive.services.blobs import Blobs
from nbreactive.services.column_files import folder_of
from nbreactive.services.deploys import Deployer
from nbreactive.services.env import env_at
from nbreactive.services.files import Files
from nbreactive.services.loads import Loads
from nbreactive.services.own_answers import OwnAnswers
from nbreactive.services.past import Past
from nbreactive.services.presence import Presence
from nbreactive.services.retention import KEEP_SECONDS, Retention
from nbreactive.services.selects import Selects
from nbreactive.services.statements import Statements
from nbreactive.values.limits import ACTION_SECONDS, FILE_BYTES, TransactionLimits

_PATIENCE = 45
"""Seconds for opening a store that the start depends on; somebody else may have it open for a while."""
_GLANCE = 3
"""Seconds for one that is only looked at, while everything else has started."""


@dataclass(frozen=True)
class PartsConfig:
    """What the parts need to know."""

    data: Path
    workers: int = 2
    mode: Literal["dev", "prod"] = "dev"
    import_paths: tuple[str, ...] = ()
    files: FileSystem = field(default_factory=Disk)
    action_seconds: float = ACTION_SECONDS
    limits: TransactionLimits = field(default_factory=TransactionLimits)
    deployment: str = "default"
    keep_history: float = KEEP_SECONDS
    files_at: str | None = None
    """Where stored files are kept; None: in the data folder."""
    file_bytes: int = FILE_BYTES
    attach: tuple[tuple[str, str], ...] = ()
    """Names and places of sources outside that SQL may read."""


class Parts:
    """One running deployment, without doors; made by :meth:`open`."""

    def __init__(
        self,
        log: SegmentLog,
        index: RowIndex,
        columns: Columns,
        pool: Pool,
        engine: Engine,
        statements: Statements,
        own_answers: OwnAnswers,
        deployer: Deployer,
        action_pool: ActionPool,
        actions: Actions,
        background: Background,
        files: Files,
        tail: int,
        keep_history: float,
        past: Path,
    ) -> None:
        self.log = log
        self.index = index
        self.columns = columns
        self.pool = pool
        self.engine = engine
        self.statements = statements
        self.own_answers = own_answers
        self.deployer = deployer
        self.action_pool = action_pool
        self.actions = actions
        self.background = background
        self.files = files
        self.presence = Presence(engine)
        self.loads = Loads(engine, folder_of(log.folder.parent))
        self.past = Past(past, engine, log, columns)
        pool.index_at = self.past.index_at
        pool.select = Selects(engine, columns).run
        self.retention = Retention(log, index, engine, columns, keep=keep_history, files=files)
        self.retention.collect_batches = self.loads.collect
        columns.on_layout = statements.columns_changed
        engine.follow(tail, columns.take)
        self._trimming = asyncio.create_task(self.retention.run())

    @classmethod
    async def open(cls, config: PartsConfig) -> Parts:
        """Open everything; what was opened before a failure is closed again."""
        async with contextlib.AsyncExitStack() as opened:
            log = await SegmentLog.open(config.data / "log", files=config.files)
            opened.push_async_callback(log.close)
            tail, store = await last_ts(log), config.data / STORE
            known = store.exists()
            columns = Columns(
                config.data,
                read_log=lambda after: entries_after(log, after),
                horizon=lambda: log.horizon,
                attach=config.attach,
            )
            opened.push_async_callback(columns.close)
            await columns.start(tail=tail, wait=False)
            believed = _trust.believed(config.data / "index")
            if known and not believed and not await columns.opened(_PATIENCE) and not tail:
                raise DataFolderError(
                    f"the log in {config.data / 'log'} is empty, and {store}, which may have more, cannot be read"
                    f" ({columns.error or 'its process does not start'}). Nothing was changed. Close whatever has it"
                    f" open, restore the log, or move {store} away to begin with an empty deployment"
                )
            index = RowIndex.open(config.data / "index")
            opened.callback(index.close)
            secret = cursor_key(config.data)
            blobs = Blobs(config.data / "files", config.files_at)
            pool = Pool(
                config.data / "index",
                workers=config.workers,
                user_time=config.limits.seconds,
                limits=config.limits,
                deployment=config.deployment,
                mode=config.mode,
                import_paths=config.import_paths,
                cursor_key=secret,
            )
            pool.on_death = lambda: _free_readers(index)
            opened.push_async_callback(pool.close)
            statements = Statements(
                pool,
                index,
                columns,
                production=config.mode == "prod",
                ruled=lambda: pool.manifest is not None and bool(pool.manifest.rules),
            )
            opened.callback(statements.close)
            own_answers = OwnAnswers(statements, system_panel.FUNCTIONS)
            opened.callback(own_answers.close)
            action_pool = ActionPool(seconds=config.action_seconds)
            pool.on_switch = lambda setup, manifest: action_pool.use(setup, start=_has_actions(manifest))
            engine = await Engine.open(
                log=log,
                index=index,
                executor=own_answers,
                clock=SystemClock(),
                limits=EngineLimits(transaction=config.limits),
                source=(lambda consume: _all_documents(columns, log, consume)) if tail else None,
            )
            opened.push_async_callback(engine.close)
            statements.use(engine)
            own_answers.use(engine)
            opened.push_async_callback(action_pool.close)
            deployer = Deployer(engine, pool)
            await deployer.start()
            if pool.manifest is None:
                await pool.start()
            if known and believed:
                await columns.opened(_GLANCE)
            files = Files(
                engine,
                blobs,
                upload_key(secret),
                deployment=config.deployment,
                url=lambda: env_at(engine).get(URL, NOWHERE),
                most=config.file_bytes,
            )
            await files.open()
            engine.keep_files = files.keep
            opened.pop_all()
        actions = Actions(engine, action_pool, lambda: env_at(engine))
        actions.files = files
        background = Background(engine, pool, deployer, actions.run)
        actions.jobs = background.scheduler.table
        return cls(
            log,
            index,
            columns,
            pool,
            engine,
            statements,
            own_answers,
            deployer,
            action_pool,
            actions,
            background,
            files,
            tail,
            config.keep_history,
            config.data / "past",
        )

    async def begin(self) -> None:
        """Begin to run what is due by itself, once somebody listens to what comes of it."""
        await self.background.start()

    async def close(self) -> None:
        """Finish what runs and close everything, in order; DataFolderError if the folder is gone."""
        self._trimming.cancel()
        await asyncio.gather(self._trimming, return_exceptions=True)
        await self.background.stop()
        await self.action_pool.close()
        await self.background.close()
        await self.presence.close()
        await self.loads.close()
        await self.past.close()
        self.statements.close()
        self.own_answers.close()
        await self.engine.close()
        await self.files.close()
        await self.pool.close()
        await self.columns.close()
        try:
            self.index.close()
        except FileNotFoundError as error:
            raise DataFolderError(
                f"the data folder was deleted while its backend was running ({error.filename} is gone); since then"
                " nothing was written. Restore it from a backup before the next start"
            ) from None
        finally:
            await self.log.close()


def _has_actions(manifest: Manifest) -> bool:
    return any(function.kind in ("action", "http_action") for function in manifest.functions)


def _free_readers(index: RowIndex) -> None:
    index.reader_check()


class _NoDocuments:
    applied = 0

    def __iter__(self) -> Iterator[Part]:
        return iter(())


async def _all_documents(columns: Columns, log: CommitLog, consume: Callable[[Documents], None]) -> None:
    def complete(documents: Documents) -> None:
        # One that is still being filled cannot be followed by a log that has dropped what it would need.
        consume(documents if documents.applied >= log.horizon else _NoDocuments())

    try:
        await columns.documents(complete)
    except Unavailable:
        # The store cannot be read; from nothing, the engine replays the whole log.
        consume(_NoDocuments())
