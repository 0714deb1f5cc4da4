"""What the side panel shows that is in no table that functions may read: calls, measurements, health, deploys, commits.

Each is a live query, answered here (:mod:`nbreactive.services.own_answers`): it runs again when a call was made, a commit
happened, something was deployed, or, for what only changes by itself, on a period while somebody looks.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from nbreactive.engine.catalog import CRON_LOGS, CRONS, DEPLOYS, ENV, MODULES
from nbreactive.engine.entries import Entry
from nbreactive.engine.environment import read_variables
from nbreactive.errors import FunctionNotFound
from nbreactive.functions.paths import BUILT_IN
from nbreactive.functions.specs import FunctionSpec
from nbreactive.runtime import system_panel as names
from nbreactive.runtime.system_environment import BUILT_IN as VARIABLES_OF_THE_SYSTEM
from nbreactive.server.logs import CallRecord, Logs
from nbreactive.server.metrics import Metrics
from nbreactive.server.reset import STORE
from nbreactive.services.commits import Commits
from nbreactive.services.copies import unified_diff
from nbreactive.services.cron_documents import documents_of, read_crons
from nbreactive.services.own_answers import Answer, Asked
from nbreactive.services.stored_modules import StoredModule, read_history, read_modules

if TYPE_CHECKING:
    from nbreactive.server.parts import Parts

_CALLS: Final = "calls"
_COMMITS: Final = "commits"
_LOOK: Final = 2000
"""Milliseconds between two looks at the health."""
_LOGS: Final = 200
_SLOW: Final = 10
_OWN: Final = ("_system/", f"{BUILT_IN}/")
_ORDER: Final = {"DEBUG": 0, "LOG": 1, "INFO": 1, "WARN": 2, "ERROR": 3}


class Panel:
    """Answers of one deployment.

    Parameters
    ----------
    logs
        The calls.
    data
        The data folder.
    status
        Gives the state of the backend; all of it, or what everybody may know.
    """

    def __init__(self, logs: Logs, data: Path, status: Callable[[bool], dict[str, Any]]) -> None:
        self._logs = logs
        self._data = data
        self._status = status
        self._started = float(round(time.time() * 1000))
        self._metrics = Metrics()
        self._parts: Parts | None = None
        logs.on_call = self._called

    def use(self, parts: Parts) -> None:
        """Answer for these parts from now on."""
        self._parts = parts
        parts.own_answers.answer(self._answers())
        parts.engine.follow(parts.engine.durable, self._committed)

    def _answers(self) -> Mapping[str, Answer]:
        return {
            names.FUNCTIONS_LIST: self._functions,
            names.HEALTH: self._health,
            names.LOGS: self._log,
            names.METRICS: self._measured,
            names.SOURCE: self._source,
            names.DEPLOYS: self._deploys,
            names.DIFF: self._diff,
            names.COMMITS: self._audit,
            names.CRONS: self._crons,
            names.VARIABLES: self._variables,
            names.VARIABLE: self._variable,
        }

    # ---- what changes ------------------------------------------------------------------------------------

    def _called(self, path: str, kind: str, seconds: float, code: str) -> None:
        self._metrics.add(path, kind, seconds, code)
        if self._parts is not None and not (path.startswith(_OWN) and not code):
            self._parts.own_answers.changed(_CALLS)

    def _committed(self, entries: Sequence[Entry]) -> None:
        if self._parts is not None and any(entry.writes for entry in entries):
            self._parts.own_answers.changed(_COMMITS)

    # ---- functions ---------------------------------------------------------------------------------------

    async def _functions(self, asked: Asked) -> Any:
        """Every function that the caller may call, with its validators."""
        asked.code()
        asked.table(MODULES)
        everything = asked.reach != "public"
        return [
            _described(spec)
            for spec in sorted(self._specs(), key=lambda spec: spec.path)
            if spec.visibility == "public" or (everything and spec.visibility == "internal")
        ]

    def _specs(self) -> Sequence[FunctionSpec]:
        # The workers' own list: it is switched in the very commit that re-runs this
        manifest = self._parts.pool.manifest if self._parts is not None else None
        return manifest.functions if manifest is not None else ()

    async def _source(self, asked: Asked) -> Any:
        """A module: its source, and who has deployed it."""
        asked.table(MODULES)
        found = read_modules(asked.reader, asked.ts).get(asked.args["module"])
        return None if found is None else found[2].summary() | {"source": found[2].source}

    async def _measured(self, asked: Asked) -> Any:
        """Calls, errors and times by function."""
        asked.about(_CALLS)
        assert self._parts is not None
        return [row for row in self._metrics.table(self._parts.engine.hits) if not row["path"].startswith(_OWN)]

    # ---- logs --------------------------------------------------------------------------------------------

    async def _log(self, asked: Asked) -> Any:
        """The newest calls to which the filters apply."""
        asked.about(_CALLS)
        args = asked.args
        level, text = _ORDER.get(args.get("level", "").upper(), -1), args.get("text", "").lower()
        limit = min(int(args.get("limit", _LOGS)), 1000)
        found: list[dict[str, Any]] = []
        for record in reversed(self._logs.since(0, path=args.get("function") or None)):
            if len(found) >= limit:
                break
            if record.path.startswith(_OWN) and not args.get("system"):
                continue
            if _level(record) >= level and (not text or text in _text(record)):
                found.append(msgspec.to_builtins(record) | {"number": str(record.number), "level": _level(record)})
        return found

    # ---- history -----------------------------------------------------------------------------------------

    async def _deploys(self, asked: Asked) -> Any:
        """What was deployed when by whom, newest first, and what of it is deployed now."""
        asked.table(DEPLOYS)
        asked.table(MODULES)
        limit = min(int(asked.args.get("limit", 50)), 500)
        history = read_history(asked.reader, asked.ts)[:limit]
        current = {name: found[2].version for name, found in read_modules(asked.reader, asked.ts).items()}
        return {"deploys": [record.summary() for record in history], "current": current}

    async def _diff(self, asked: Asked) -> Any:
        """What a deploy changed in a module."""
        asked.table(DEPLOYS)
        module, version = asked.args["module"], int(asked.args["version"])
        history = [r for r in read_history(asked.reader, asked.ts) if module in r.modules and r.version <= version]
        if not history or history[0].version != version:
            raise FunctionNotFound(f"version {version} has not changed a module {module[:100]!a}")
        new = history[0].modules[module]
        old = history[1].modules[module] if len(history) > 1 else None
        return unified_diff(_text_of(old), _text_of(new), _label(old, "nothing"), _label(new, f"version {version}"))

    async def _audit(self, asked: Asked) -> Any:
        """What was committed by which function for whom, newest first."""
        asked.about(_COMMITS)
        assert self._parts is not None
        engine = self._parts.engine
        limit = min(int(asked.args.get("limit", 50)), 500)
        table = asked.args.get("table") or None
        return msgspec.to_builtins(await Commits(self._parts.log).recent(engine.catalog(), table=table, limit=limit))

    async def _crons(self, asked: Asked) -> Any:
        """Cron jobs with their last results."""
        asked.table(CRONS)
        asked.table(CRON_LOGS)
        logs: dict[str, list[dict[str, Any]]] = {}
        for _, _, log in documents_of(asked.reader, CRON_LOGS, asked.ts):
            logs.setdefault(log["name"], []).append(_shown(log))
        crons = [_shown(cron) for _, _, cron in read_crons(asked.reader, asked.ts)]
        return sorted((cron | {"logs": logs.get(cron["name"], [])} for cron in crons), key=lambda cron: cron["name"])

    # ---- settings ----------------------------------------------------------------------------------------

    async def _variables(self, asked: Asked) -> Any:
        """Names of environment variables, and how long their values are."""
        asked.table(ENV)
        found = read_variables(asked.reader, asked.ts)
        return [
            {"name": name, "length": len(variable.value)}
            for name, variable in found.items()
            if name not in VARIABLES_OF_THE_SYSTEM
        ]

    async def _variable(self, asked: Asked) -> Any:
        """One value."""
        asked.table(ENV)
        found = read_variables(asked.reader, asked.ts).get(asked.args["name"])
        return None if found is None else found.value

    # ---- health ------------------------------------------------------------------------------------------

    async def _health(self, asked: Asked) -> Any:
        """How the backend is."""
        asked.every = _LOOK
        private = asked.reach != "public"
        status = self._status(private)
        del status["uptime_s"]
        shown: dict[str, Any] = {"started": self._started, **status}
        if not private or self._parts is None:
            return shown
        engine, began = self._parts.engine, time.perf_counter()
        await asyncio.sleep(0)
        columns = shown["columns"]
        behind = (engine.durable - columns["applied"]) / 1e6 if columns.get("waiting") else 0.0
        slow = sorted(self._metrics.table(engine.hits), key=lambda row: -row["p99"])
        return shown | {
            "lag": {
                "loop_ms": round((time.perf_counter() - began) * 1000, 1),
                "columns_ms": round(max(behind, 0.0)),
                "not_durable": len(engine.not_durable()),
            },
            "disk": await asyncio.to_thread(_disk, self._data),
            "slow": [row for row in slow if not row["path"].startswith(_OWN)][:_SLOW],
        }


def _described(spec: FunctionSpec) -> dict[str, Any]:
    return msgspec.to_builtins(spec)


def _level(record: CallRecord) -> int:
    said = max((_ORDER.get(line.level, 1) for line in record.lines), default=1)
    return 3 if record.code else said


def _text(record: CallRecord) -> str:
    said = (record.path, record.request_id, record.code, record.message, *(line.text for line in record.lines))
    return "\n".join(said).lower()


def _text_of(module: StoredModule | None) -> str:
    return module.source if module is not None else ""


def _label(module: StoredModule | None, otherwise: str) -> str:
    return f"version {module.version}" if module is not None else otherwise


def _shown(document: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in document.items() if not name.startswith("_")}


def _disk(data: Path) -> dict[str, int]:
    """Bytes that are free, and those that the parts of a data folder have."""
    usage = shutil.disk_usage(data)
    parts = {"log": _bytes_in(data / "log"), "index": _bytes_in(data / "index")}
    store = data / STORE
    return {"free": usage.free, "total": usage.total, "store": store.stat().st_size if store.exists() else 0, **parts}


def _bytes_in(folder: Path) -> int:
    total = 0
    try:
        for entry in os.scandir(folder):
            if entry.is_file():
                stat = entry.stat()
                # A file with holes has less on the disk than its size says
                total += min(stat.st_size, getattr(stat, "st_blocks", 1 << 60) * 512)
    except OSError:  # a segment that goes meanwhile
        return total
    return total
