"""Running one call: find the function, check its arguments, run it, check and encode what it returns.

Used by the workers and by :mod:`nbreactive.runtime.inline`. Whatever happens is described by the outcome; nothing is
raised. A mutation whose transaction was aborted fails, even if its function caught the error and returned.
"""

from __future__ import annotations

import builtins
import difflib
import time
from collections.abc import Mapping
from typing import Any, Final

from nbreactive.engine.transactions import Call, Failure, Outcome, Write
from nbreactive.errors import FunctionNotFound, InvalidValue, LimitExceeded, NotAllowed, ReturnsError
from nbreactive.functions import Function, Reference, bind, canonical_path
from nbreactive.functions.specs import Kind, Visibility
from nbreactive.runtime import system
from nbreactive.runtime._processes import peak_memory
from nbreactive.runtime.context import Execution, MutationContext, QueryContext
from nbreactive.runtime.determinism import Instant, frozen
from nbreactive.runtime.errors_of import failure_of
from nbreactive.runtime.loader import Program
from nbreactive.runtime.output import CallLog, captured
from nbreactive.runtime.query import Query
from nbreactive.runtime.tables import SnapshotReader, TableCache
from nbreactive.runtime.transaction import Transaction
from nbreactive.values._paths import with_article
from nbreactive.values.checks import check_value
from nbreactive.values.json import encode_json
from nbreactive.values.kinds import UNSET
from nbreactive.values.limits import RESULT_ITEMS, RESULT_SIZE, over
from nbreactive.values.packing import unpack
from nbreactive.values.sizes import size_of

_REACH: Final[Mapping[Visibility, int]] = {"public": 0, "internal": 1, "system": 2}
_LARGE: Final = 400 << 20
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
    """

    def __init__(self, program: Program, reader: SnapshotReader, tables: TableCache, *, production: bool) -> None:
        self._functions: dict[str, Function] = {**program.functions, **system.FUNCTIONS}
        self._reader = reader
        self._tables = tables
        self._production = production
        self.opened_files = False
        """Whether the last call has opened files."""
        self.changed_builtins = False
        """Whether any call has replaced builtins (they were put back)."""
        self._builtins = dict(_BUILTINS)

    def run(self, call: Call) -> Outcome:
        """Run a call at its snapshot."""
        began = _real_clock()
        log = CallLog()
        txn = Transaction(self._reader, self._tables, call.snapshot, call.now, call.seed)
        execution = Execution(call, txn, log, self._invoke_nested)
        kind: Kind = call.kind or "query"
        value: bytes = b"null"
        failure: Failure | None = None
        writes: list[Write] = []
        columns: list[str] | None = None
        try:
            path, function = self._find(call)
            kind = function.kind
            instant = Instant(kind, call.now, call.seed)
            with captured(log), frozen(instant):
                try:
                    result = self._invoke(execution, path, function, unpack(call.args), 1)
                    _refuse_giants(result)
                    value = encode_json(result)
                finally:
                    self.opened_files = instant.opened
            txn.finish()
            if len(value) > 2 * RESULT_SIZE:
                raise _too_long(len(value))
            if result == []:
                columns = self._columns(function, txn)
            if kind == "mutation":
                writes = txn.writes()
        except BaseException as error:  # noqa: BLE001 - SystemExit and the like end the call, not the worker
            failure = failure_of(error, call.request_id, production=self._production)
            value = b"null"
        outcome = Outcome(
            value=value,
            failure=failure,
            reads=txn.reads(),
            writes=writes,
            logs=log.close(),
            identity_read=execution.identity_read,
            every=execution.every,
            columns=columns,
            kind=kind,
            duration_us=int((_real_clock() - began) * 1e6),
        )
        txn.end()
        return outcome

    # ---- finding -----------------------------------------------------------------------------------------

    def _find(self, call: Call) -> tuple[str, Function]:
        path = canonical_path(call.path)
        function = self._functions.get(path)
        reach = _REACH[call.reach]
        if function is None or _REACH[function.visibility] > reach:
            # The two look the same, so that nobody learns what is there.
            raise self._unknown(call.path, reach)
        if call.kind is not None and call.kind != function.kind:
            asked, found = with_article(call.kind), with_article(function.kind)
            raise FunctionNotFound(f"Trying to run {path!r} as {asked}, but it is {found}")
        return path, function

    def _unknown(self, path: str, reach: int) -> FunctionNotFound:
        shown = path if len(path) <= 200 else f"{path[:200]}..."
        visible = [name for name, function in self._functions.items() if _REACH[function.visibility] <= min(reach, 1)]
        near = difflib.get_close_matches(path[:200], visible, n=3, cutoff=0.6)
        hint = f" There is: {', '.join(near)}." if near else ""
        return FunctionNotFound(f"Could not find public function for {shown!r}. Did you forget to deploy it?{hint}")

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
        if result is UNSET:
            result = None
        if isinstance(result, Query):
            raise ReturnsError("a query that was not read cannot be returned; add .collect() or .take(n)", "returns")
        if function.returns is not None:
            return function.returns.check(
                result, "returns", error=ReturnsError, table_of=ctx.db.table_of, max_items=RESULT_ITEMS, datetimes=True
            )
        return check_value(result, "returns", datetimes=True, max_items=RESULT_ITEMS)

    def _invoke_nested(self, execution: Execution, target: Any, args: dict[str, Any], kind: Kind, depth: int) -> Any:
        path, function = self._resolve(target, kind)
        txn = execution.txn
        savepoint = txn.savepoint()
        try:
            result = self._invoke(execution, path, function, args, depth)
        except BaseException:
            txn.rollback(savepoint)
            raise
        returns = function.returns
        return returns.load(result) if returns is not None else result

    def _resolve(self, target: Any, kind: Kind) -> tuple[str, Function]:
        if isinstance(target, (Function, Reference)):
            path = target.path
        elif isinstance(target, str):
            path = canonical_path(target)
        else:
            raise InvalidValue(f"ctx.run_{kind} takes a reference such as api.posts.get, not {target!r:.60}")
        function = self._functions.get(path)
        if function is None or function.visibility == "system":
            raise self._unknown(path, 1)
        if function.kind != kind:
            raise NotAllowed(f"{path} is {with_article(function.kind)}: use ctx.run_{function.kind}")
        return path, function

    def _columns(self, function: Function, txn: Transaction) -> list[str] | None:
        """Columns of an empty list: those that its validator names, else those of the only table that was queried."""
        returns = function.returns
        columns = returns.columns() if returns is not None else None
        if columns is not None:
            return columns
        table = txn.only_table_scanned()
        columns = table.validator.columns() if table is not None and table.validator is not None else None
        return ["_id", "_creationTime", *columns] if columns is not None else None


def _refuse_giants(result: Any) -> None:
    """Refuse a result that would not fit into memory when it is encoded.

    msgspec 0.22 ends the process with a segmentation fault then, where a MemoryError would do. Only a process that has
    been large has such results, so no others are measured. Eight times the limit is over it in JSON, whatever it holds.
    """
    if peak_memory() > _LARGE and (size := size_of(result)) > 8 * RESULT_SIZE:
        raise _too_long(size)


def _too_long(size: int) -> LimitExceeded:
    fix = "return less: take(n), fewer fields"
    return LimitExceeded(over("bytes in a result", size, 2 * RESULT_SIZE, fix), "returns")
