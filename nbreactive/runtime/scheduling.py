"""``ctx.scheduler`` of a mutation: jobs are documents that are written in its transaction.

So what a mutation schedules is scheduled exactly if it commits, together with everything else that it does. The
function is looked up now, its arguments are checked when it runs: it may be another version of it then.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, cast

from nbreactive.engine.catalog import SCHEDULED
from nbreactive.engine.scheduled import finished, job_document
from nbreactive.errors import InvalidId, InvalidValue, LimitExceeded
from nbreactive.runtime.lookup import Functions, resolve
from nbreactive.runtime.tables import Table
from nbreactive.values._paths import Mismatch
from nbreactive.values.checks import check_value
from nbreactive.values.ids import Id, decode_id, encode_id
from nbreactive.values.limits import SCHEDULED_ARGS, over
from nbreactive.values.moments import LATEST, to_milliseconds
from nbreactive.values.packing import pack, unpack

if TYPE_CHECKING:
    from nbreactive.runtime.context import Execution

_TABLE: Final = "_scheduled_functions"


class Scheduler:
    """Runs functions later.

    Examples
    --------
    Inside of a mutation::

        job = ctx.scheduler.run_after(5_000, internal.messages.destruct, message_id=id)
        ctx.scheduler.run_at(datetime(2026, 12, 24, 18, tzinfo=UTC), internal.greetings.send)
        ctx.scheduler.cancel(job)
    """

    __slots__ = ("_execution", "_functions")

    def __init__(self, execution: Execution, functions: Functions) -> None:
        self._execution = execution
        self._functions = functions

    def run_after(self, delay_ms: float, reference: Any, args: dict[str, Any] | None = None, /, **kwargs: Any) -> Id:
        """Run a mutation or an action ``delay_ms`` milliseconds from now, once; returns the id of the job.

        Parameters
        ----------
        delay_ms
            0 or more; 0 is right after this mutation.
        reference
            What to run: ``api.posts.notify``, ``internal.posts.sweep``.
        args
            Its arguments, instead of keywords.
        """
        delay = _number(delay_ms)
        if delay is None or delay < 0:
            raise InvalidValue(f"ctx.scheduler.run_after takes milliseconds, 0 or more, not {delay_ms!r:.60}")
        return self._schedule("run_after", self._execution.call.now + delay, reference, args, kwargs)

    def run_at(
        self, when: float | datetime, reference: Any, args: dict[str, Any] | None = None, /, **kwargs: Any
    ) -> Id:
        """Run a mutation or an action at a time, once; returns the id of the job.

        Parameters
        ----------
        when
            An aware datetime, or milliseconds since the epoch. What lies in the past runs right after this mutation.
        reference, args
            As of :meth:`run_after`.
        """
        try:
            at = to_milliseconds(when) if isinstance(when, datetime) else _number(when)
        except Mismatch as mismatch:
            raise mismatch.under("ctx.scheduler.run_at", InvalidValue) from None
        if at is None or at < 0:
            raise InvalidValue(
                f"ctx.scheduler.run_at takes a datetime or milliseconds since the epoch, not {when!r:.60}"
            )
        return self._schedule("run_at", at, reference, args, kwargs)

    def cancel(self, id: str) -> None:
        """Cancel a job: one that has not begun never runs; an action that runs goes on, but schedules nothing more.

        What has ended already stays as it is.
        """
        txn = self._execution.txn
        txn.check_running()
        number, internal = decode_id(id)
        if number != SCHEDULED:
            raise InvalidId(f"ctx.scheduler.cancel takes the id of a scheduled function, not {id!r}")
        if id == self._execution.call.job:
            return  # it is running: its end is that of this very transaction
        table = self._table()
        found = txn.document(table.info, internal)
        if found is None:
            return
        document = unpack(found.packed)
        if document["state"]["kind"] in ("pending", "inProgress"):
            canceled = finished(document, "canceled", self._execution.call.now)
            txn.write_job(table.info, internal, pack(canceled), found)

    def _schedule(self, how: str, at: float, reference: Any, args: dict[str, Any] | None, kwargs: dict[str, Any]) -> Id:
        said = f"ctx.scheduler.{how}"
        txn = self._execution.txn
        txn.check_running()
        if args is not None and kwargs:
            raise InvalidValue(f"{said} takes the arguments as one dict or as keywords, not both")
        if at > LATEST:
            raise InvalidValue(
                f"{said}: {at:.0f} ms since the epoch is later than the year 9999; is it in another unit?"
            )
        path, _ = resolve(self._functions, reference, "mutation", "action", said=said)
        given: Any = check_value(kwargs if args is None else args, "args", datetimes=True)
        if not isinstance(given, dict):
            raise InvalidValue(f"{said} takes the arguments as one dict or as keywords, not {args!r:.60}")
        given = cast("dict[str, Any]", given)
        size = len(pack(given))
        if size > SCHEDULED_ARGS:
            fix = "store them as documents, and pass their ids"
            txn.abort(LimitExceeded(over("bytes of arguments of a scheduled function", size, SCHEDULED_ARGS, fix)))
        table = self._table()
        id = txn.new_id()
        document = job_document(path, given, at, txn.next_creation_time(), canceled=self._is_canceled(table))
        txn.write_job(table.info, id, pack(document), None, size)
        return encode_id(SCHEDULED, id)

    def _is_canceled(self, table: Table) -> bool:
        """Whether this runs on behalf of an action that was canceled meanwhile."""
        job = self._execution.call.job
        number, internal = decode_id(job) if job else (0, b"")
        found = self._execution.txn.document(table.info, internal) if number == SCHEDULED else None
        return found is not None and unpack(found.packed)["state"]["kind"] == "canceled"

    def _table(self) -> Table:
        table = self._execution.txn.table(_TABLE)
        assert table is not None
        return table


def _number(value: Any) -> float | None:
    """A finite number, or None."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not -1e18 < value < 1e18:
        return None
    return value
