"""Running one call: find the function, check its arguments, run it, check and encode what it returns.

Used by the workers and by :mod:`nbreactive.runtime.inline`. Whatever happens is described by the outcome; nothing is
raised. A mutation whose transaction was aborted fails, even if its function caught the error and returned.
"""

from __future__ import annotations

import builtins
import time
from typing import Any, Final

from nbreactive.engine.transactions import Call, Failure, NewFile, Outcome, Write
from nbreactive.engine.upload_tokens import upload_key
from nbreactive.functions import Function, bind
from nbreactive.functions.specs import Kind
from nbreactive.runtime import system
from nbreactive.runtime.context import Deployment, Execution, MutationContext, QueryContext
from nbreactive.runtime.cursors import Pages, Seal
from nbreactive.runtime.determinism import Instant, frozen
from nbreactive.runtime.errors_of import failure_of
from nbreactive.runtime.loader import Program
from nbreactive.runtime.lookup import checked_result, find, refuse_giants, resolve, too_long
from nbreactive.runtime.output import CallLog, captured
from nbreactive.runtime.past import NeedsPast, PastIndexes
from nbreactive.runtime.result_columns import result_columns
from nbreactive.runtime.sql import Ask
from nbreactive.runtime.storage import files_of
from nbreactive.runtime.tables import SnapshotReader, TableCache
from nbreactive.runtime.transaction import Transaction
from nbreactive.values.json import encode_json
from nbreactive.values.limits import RESULT_SIZE, TransactionLimits
from nbreactive.values.packing import unpack

_real_clock = time.perf_counter
_BUILTINS: Final[dict[str, Any]] = builtins.__dict__


class Runner:
    """Runs the calls of one worker, one at a time.

    Parameters
    ----------
    program
        The imported code.
    reader
        Reader of the row index; renewed by the caller before each call.
    tables
        Cache of tables, kept from call to call.
    production
        Whether errors are kept from callers.
    limits
        How much a call may do.
    deployment
        The name that functions see in ``ctx.meta``.
    cursor_key
        What the cursors of pages are sealed with.
    """

    def __init__(
        self,
        program: Program,
        reader: SnapshotReader,
        tables: TableCache,
        *,
        production: bool,
        limits: TransactionLimits | None = None,
        deployment: str = "default",
        cursor_key: bytes = b"",
    ) -> None:
        self._functions: dict[str, Function] = {**program.functions, **system.FUNCTIONS}
        self._rules = program.rules
        self._reader = reader
        self._tables = tables
        self._past = PastIndexes()
        self._production = production
        self._limits = limits or TransactionLimits()
        self._deployment = Deployment(deployment, "prod" if production else "dev")
        self._seal = Seal(cursor_key)
        self._upload_key = upload_key(cursor_key)
        self.opened_files = False
        """Whether the last call has opened files."""
        self.changed_builtins = False
        """Whether any call has replaced builtins (they were put back)."""
        self.select: Ask | None = None
        """Has SQL statements run."""
        self._builtins = dict(_BUILTINS)

    def run(self, call: Call) -> Outcome:
        """Run a call at its snapshot."""
        began = _real_clock()
        log = CallLog()
        reader, tables = self._past.open(call.index) if call.index else (self._reader, self._tables)
        txn = Transaction(reader, tables, call.snapshot, call.now, call.seed, self._limits)
        txn.earlier = lambda of, ts: self._past.view(call, reader, tables, of, ts)
        txn.pages = Pages(self._seal, call.journal)
        txn.log = log
        txn.select = self.select
        execution = Execution(call, txn, log, self._invoke_nested, self._deployment, self._functions, self._upload_key)
        if self._rules:
            execution.all_rules = self._rules
            if call.reach != "system":
                execution.rules = self._rules
        kind: Kind = call.kind or "query"
        value: bytes = b"null"
        failure: Failure | None = None
        writes: list[Write] = []
        files: list[NewFile] = []
        columns: list[str] | None = None
        try:
            path, function = find(self._functions, call)
            kind = function.kind
            instant = Instant(kind, call.now, call.seed)
            with captured(log), frozen(instant):
                try:
                    result = self._invoke(execution, path, function, unpack(call.args), 1)
                    refuse_giants(result)
                    value = encode_json(result)
                finally:
                    self.opened_files = instant.opened
            txn.finish()
            if len(value) > 2 * RESULT_SIZE:
                raise too_long(len(value))
            if kind == "query":
                columns = self._columns(execution.returned, function, txn)
            if kind == "mutation":
                writes = txn.writes()
                files = files_of(execution, writes)
        except BaseException as error:  # noqa: BLE001 - SystemExit and the like end the call, not the worker
            # whoever reaches functions of the system may see all that an error can say
            production = self._production and not call.path.startswith("_system/")
            failure = failure_of(error, call.request_id, production=production)
            value = b"null"
        aborted = txn.aborted
        outcome = Outcome(
            value=value,
            failure=failure,
            reads=txn.reads(),
            interests=txn.interests if kind == "query" else (),
            writes=writes,
            files=files,
            logs=log.close(),
            identity_read=execution.identity_read,
            every=execution.every,
            journal=txn.pages.journal(),
            columns=columns,
            kind=kind,
            duration_us=int((_real_clock() - began) * 1e6),
            needs=aborted.ts if isinstance(aborted, NeedsPast) else 0,
        )
        txn.end()
        return outcome

    # ---- running -----------------------------------------------------------------------------------------

    def _invoke(self, execution: Execution, path: str, function: Function, args: Any, depth: int) -> Any:
        """Run a function and return its result as a plain value."""
        make = MutationContext if function.kind == "mutation" else QueryContext
        ctx = make(execution, path, function.visibility, depth)
        bound = bind(function, args, table_of=ctx.db.table_of)
        try:
            result = function.handler(ctx, **bound)
        finally:
            # Before anything else of ours runs, which relies on them.
            if self._builtins != _BUILTINS:
                _BUILTINS.clear()
                _BUILTINS.update(self._builtins)
                self.changed_builtins = True
        execution.returned = result  # last of all by the function that was called
        return checked_result(function, result, ctx.db.table_of)

    def _invoke_nested(self, execution: Execution, target: Any, args: dict[str, Any], kind: Kind, depth: int) -> Any:
        path, function = resolve(self._functions, target, kind, said=f"ctx.run_{kind}")
        txn = execution.txn
        savepoint = txn.savepoint()
        pages = txn.pages
        paginated, pages.paginated, reader = pages.paginated, False, pages.reader
        pages.reader = (*reader, path, args)
        try:
            result = self._invoke(execution, path, function, args, depth)
        except BaseException:
            txn.rollback(savepoint)
            raise
        finally:
            pages.paginated, pages.reader = paginated, reader
        returns = function.returns
        return returns.load(result) if returns is not None else result

    def _columns(self, result: Any, function: Function, txn: Transaction) -> list[str] | None:
        declared = function.returns.columns() if function.returns is not None else None
        table = txn.only_table_scanned()
        stored = table.validator.columns() if table is not None and table.validator is not None else None
        return result_columns(result, declared, stored)
