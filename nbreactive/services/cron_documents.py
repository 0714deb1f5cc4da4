"""Cron jobs as documents, and how a deploy changes them.

``_crons`` holds ``{name, schedule, function, args, nextRun, lastRun?, state}``, ``_cron_job_logs`` the last results of each.
A job that a deploy does not change keeps its time, so deploying often does not put off what runs seldom.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

from nbreactive.engine.catalog import BY_CREATION_TIME, CREATION_TIME, CRON_LOGS, CRONS, SnapshotReader, index_id
from nbreactive.engine.transactions import Write
from nbreactive.functions.specs import CronSpec
from nbreactive.services.cron_times import first_after
from nbreactive.values.keys import END
from nbreactive.values.packing import pack, unpack

BY_NAME: Final = index_id(CRONS, 2)
LOGS_BY_NAME: Final = index_id(CRON_LOGS, 2)

Document = dict[str, Any]


def read_crons(reader: SnapshotReader, ts: int) -> list[tuple[bytes, int, Document]]:
    """Return id, version and document of all cron jobs."""
    return list(documents_of(reader, CRONS, ts))


def cron_writes(
    specs: Iterable[CronSpec], reader: SnapshotReader, ts: int, now: int, new_id: Callable[[], bytes]
) -> list[Write]:
    """Return what a deploy writes so that there are exactly the jobs that it defines."""
    writes: list[Write] = []
    stored = {document["name"]: (id, version, document) for id, version, document in read_crons(reader, ts)}
    for spec in specs:
        wanted: Document = {"schedule": spec.schedule, "function": spec.function, "args": [unpack(spec.args)]}
        id, version, found = stored.pop(spec.name, (b"", 0, {}))
        if all(found.get(field) == value for field, value in wanted.items()):
            continue
        document = {CREATION_TIME: float(now), "state": {"kind": "pending"}, **found, "name": spec.name, **wanted}
        if found.get("schedule") != spec.schedule:
            document["nextRun"] = float(first_after(spec.name, spec.schedule, now))
        writes.append(Write(CRONS, id or new_id(), pack(document), version))
    gone = set(stored)
    writes += [Write(CRONS, id, None, version) for id, version, _ in stored.values()]
    if gone:
        logs = documents_of(reader, CRON_LOGS, ts)
        writes += [Write(CRON_LOGS, id, None, version) for id, version, log in logs if log["name"] in gone]
    return writes


def documents_of(reader: SnapshotReader, table: int, ts: int) -> Iterator[tuple[bytes, int, Document]]:
    """Yield id, version and document of everything in a table."""
    for _, id in reader.scan(index_id(table, BY_CREATION_TIME), b"", END, ts):
        found = reader.document(table, id, ts)
        if found is not None:
            yield id, found[1], unpack(found[0])
