"""The functions folder: every ``.py`` file in it is a module, pushed when it is saved.

All changes of a moment go as one deploy. If that is refused, the files are tried one by one, so that one broken file
does not hold back the others, and again as long as that gets any further, because one may need another; what stays
refused is remembered as a problem, and its old version goes on running.

Typed stubs of everything that is deployed, from wherever, are written into ``_generated`` of the folder, if there is one.
"""

from __future__ import annotations

import asyncio
import re
import tokenize
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from watchfiles import Change, DefaultFilter, awatch

from nbreactive.errors import DeployRefused, NBReactiveError, StaleModule
from nbreactive.functions.generated import FOLDER
from nbreactive.functions.specs import ModuleSource, Origin
from nbreactive.services.deploys import TOO_LONG, Deployer, DeployRequest
from nbreactive.services.stubs import write_stubs

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_SETTLE_MS = 100
_LOOK_AGAIN = 1.0
_IMPORT_SECONDS = 10
"""For importing everything; nobody waits here who knows that it takes long, but everybody else's deploys do."""
_READY_SECONDS = 10
"""How long a start waits for the first push; where something is deployed already, that serves meanwhile..."""
_SERVING_SECONDS = 0.5
"""... and it waits for so long."""
_SKIPPED = frozenset(("__init__", "__pycache__", FOLDER))


class FunctionsFolder:
    """Keeps a deployment equal to a folder.

    Parameters
    ----------
    path
        The folder; it may come into being later.
    deployer
        Where its modules go.
    report
        Called with an event's name, level and fields.
    """

    def __init__(self, path: Path, deployer: Deployer, report: Callable[..., None]) -> None:
        self.path = path.resolve()
        self._deployer = deployer
        self._report = report
        self._stop = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._writing = asyncio.Lock()
        self._unwritten = ""
        self.problems: dict[str, str] = {}
        """Why files are not deployed as they are, by module name."""
        self._told_of: dict[str, int] = {}
        """When the file was saved of which a problem was reported last, by module name."""

    async def start(self) -> None:
        """Deploy what is there, then watch; whatever takes long goes on after this has returned."""
        self._deployer.after_deploy = self._write_stubs
        pushing = asyncio.create_task(self.push())
        self._task = asyncio.create_task(self._watch(pushing))
        await asyncio.wait((pushing,), timeout=_SERVING_SECONDS if self._deployer.modules else _READY_SECONDS)
        if pushing.done():
            pushing.result()

    async def close(self) -> None:
        """Stop watching; a deploy that is under way is given up."""
        self._stop.set()
        self._deployer.after_deploy = None
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def push(self) -> None:
        """Deploy the folder as it is now."""
        files, unreadable = await asyncio.to_thread(read_folder, self.path)
        ours = {module.name for module in self._deployer.modules if self._is_ours(module.origin)}
        gone = sorted(ours - files.keys() - unreadable.keys())
        self.problems = {name: why for name, why in self.problems.items() if name in files} | unreadable
        wanted = list(files.values())
        if not wanted and not gone:
            return
        if await self._deploy(wanted, gone) is None:
            for name in [module.name for module in wanted]:
                self.problems.pop(name, None)
            return
        await self._one_by_one(wanted)
        for name in gone:
            why = await self._deploy([], [name])
            if why is not None:
                self._report("file not removed", "error", module=name, reason=why)

    async def _one_by_one(self, modules: Sequence[ModuleSource]) -> None:
        refused = dict.fromkeys((module.name for module in modules), "")
        slow = set[str]()
        version = -1
        while version != self._deployer.version:  # the last round brought something that others may need
            version = self._deployer.version
            for module in modules:
                if module.name in refused and module.name not in slow:
                    why = await self._deploy([module], [])
                    if why is None:
                        del refused[module.name]
                        self.problems.pop(module.name, None)
                    else:
                        refused[module.name] = why
                        slow |= {module.name} if TOO_LONG in why else set()
        for module in modules:
            why = refused.get(module.name)
            saved = _saved_at(module) if why is not None else 0
            # Said again of a file that was saved again; not of those beside it
            if why is not None and (self.problems.get(module.name), self._told_of.get(module.name)) != (why, saved):
                self.problems[module.name], self._told_of[module.name] = why, saved
                self._report("file not deployed", "error", module=module.name, file=module.origin.label, reason=why)

    async def _deploy(self, modules: list[ModuleSource], remove: list[str]) -> str | None:
        try:
            done = await self._deployer.deploy(
                DeployRequest(modules=modules, remove=remove, message="functions folder"),
                "functions folder",
                import_seconds=_IMPORT_SECONDS,
            )
        except StaleModule as error:
            why = error.message.partition(";")[0]
            return (
                f"{why}; rename the file, or replace the module with `nbreactive deploy {self.path.name} --force`, which"
                " makes it the folder's"
            )
        except DeployRefused as error:
            return _told(error)
        except NBReactiveError as error:
            return error.message
        if not done.unchanged:
            self._report(
                "deployed",
                "info",
                version=done.version,
                modules=[module.name for module in modules],
                removed=remove,
                rerun=done.rerun,
            )
            for warning in done.warnings:
                self._report("row rules", "warning", reason=warning)
        return None

    async def _watch(self, pushing: asyncio.Task[None]) -> None:
        await pushing
        while not self._stop.is_set():
            if not self.path.is_dir():
                await self._rest()
                continue
            await self.push()
            await self._write_stubs()
            try:
                async for _ in awatch(
                    self.path,
                    watch_filter=_Modules(),
                    stop_event=self._stop,
                    debounce=1600,
                    step=_SETTLE_MS,
                    rust_timeout=500,
                ):
                    if not self.path.is_dir():
                        break
                    await self.push()
            except (FileNotFoundError, RuntimeError, OSError) as error:
                self._report("functions folder cannot be watched", "warning", reason=str(error))
                await self._rest()

    async def _write_stubs(self) -> None:
        """Write what is deployed now into ``_generated``; the folder itself is never made."""
        async with self._writing:
            manifest = self._deployer.manifest
            if not self.path.is_dir() or (self._deployer.problem is not None and not manifest.version):
                return
            why = ""
            try:
                validation = manifest.schema_validation
                await asyncio.to_thread(
                    write_stubs, manifest.functions, manifest.tables, self.path, schema_validation=validation
                )
            except Exception as error:  # noqa: BLE001 - what is deployed is deployed, with or without stubs
                why = f"{type(error).__name__}: {error}"
            if why and why != self._unwritten:
                self._report("typed stubs not written", "warning", reason=why)
            self._unwritten = why

    async def _rest(self) -> None:
        try:
            async with asyncio.timeout(_LOOK_AGAIN):
                await self._stop.wait()
        except TimeoutError:
            return

    def _is_ours(self, origin: Origin) -> bool:
        return origin.kind == "file" and Path(origin.key).is_relative_to(self.path)


def read_folder(folder: Path) -> tuple[dict[str, ModuleSource], dict[str, str]]:
    """Return the modules of a functions folder, and why some files cannot be read, by module name."""
    found: dict[str, ModuleSource] = {}
    unreadable: dict[str, str] = {}
    for file in sorted(folder.rglob("*.py")) if folder.is_dir() else ():
        parts = file.relative_to(folder).with_suffix("").parts
        if any(part in _SKIPPED or not _NAME.fullmatch(part) for part in parts) or not (
            file.is_file() and file.resolve().is_relative_to(folder)
        ):
            continue  # reading a pipe would wait for somebody who writes into it
        name = "/".join(parts)
        try:
            with tokenize.open(file) as text:  # as Python reads it: a byte order mark, "# coding: latin-1"
                source = text.read()
        except (OSError, UnicodeDecodeError, SyntaxError) as error:
            unreadable[name] = f"{file.name} cannot be read: {error}"
            continue
        found[name] = ModuleSource(name, source, Origin("file", f"{folder.name}/{name}.py", str(file)))
    return found, unreadable


class _Modules(DefaultFilter):
    ignore_dirs = (*DefaultFilter.ignore_dirs, FOLDER)

    def __call__(self, change: Change, path: str) -> bool:
        return super().__call__(change, path) and (path.endswith(".py") or "." not in Path(path).name)


def _told(error: DeployRefused) -> str:
    def line(issue: dict[str, Any]) -> str:
        return f"{issue.get('file')}:{issue.get('line')}: {issue.get('reason')}" + (
            f"; {issue['fix']}" if issue.get("fix") else ""
        )

    # The message names the issues where it is the deployer's own
    return "\n".join(
        [error.message, *(line(one) for one in error.issues if str(one.get("reason")) not in error.message)]
    )


def _saved_at(module: ModuleSource) -> int:
    try:
        return Path(module.origin.key).stat().st_mtime_ns
    except OSError:  # it is gone again
        return 0
