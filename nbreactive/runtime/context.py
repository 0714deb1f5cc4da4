"""``ctx``: the first argument of every query and mutation.

One :class:`Execution` is shared by a call and all calls nested in it: the transaction, the log, the identity and
whether anybody looked at it. Each function gets a context of its own on top of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import msgspec

from nbreactive.engine.catalog import TableInfo
from nbreactive.engine.transactions import Call, NewFile
from nbreactive.errors import InvalidValue, LimitExceeded, NotAllowed
from nbreactive.functions.rules import TableRules
from nbreactive.functions.specs import Kind, Visibility
from nbreactive.runtime.database import DatabaseReader, DatabaseWriter
from nbreactive.runtime.environment import Environment
from nbreactive.runtime.lookup import Functions
from nbreactive.runtime.output import CallLog, Logger
from nbreactive.runtime.rules import Guard, RuledReader, RuledWriter
from nbreactive.runtime.scheduling import Scheduler
from nbreactive.runtime.storage import StorageReader, StorageWriter
from nbreactive.runtime.transaction import Transaction
from nbreactive.values.kinds import Int64
from nbreactive.values.limits import CALL_DEPTH, SCHEDULED_ARGS_TOTAL, SCHEDULED_FUNCTIONS, over

_SHORTEST_PERIOD = 1000


class Invoke(Protocol):
    """Runs a function inside of an execution."""

    def __call__(self, execution: Execution, target: Any, args: dict[str, Any], kind: Kind, depth: int, /) -> Any:
        """Run ``target``, a reference or a function."""
        ...


class Deployment(NamedTuple):
    """Where a function runs."""

    name: str = "default"
    mode: str = "dev"

    def metadata(self) -> dict[str, Any]:
        """What ``ctx.meta`` says of it."""
        return {"name": self.name, "region": None, "class": self.mode}


_DEPLOYMENT = Deployment()
_NO_FUNCTIONS: Functions = {}


class Execution:
    """What all functions of one call share."""

    __slots__ = (
        "all_rules",
        "call",
        "deployment",
        "every",
        "files",
        "functions",
        "identity_read",
        "invoke",
        "log",
        "returned",
        "rules",
        "txn",
        "upload_key",
    )

    def __init__(
        self,
        call: Call,
        txn: Transaction,
        log: CallLog,
        invoke: Invoke,
        deployment: Deployment = _DEPLOYMENT,
        functions: Functions = _NO_FUNCTIONS,
        upload_key: bytes = b"",
    ) -> None:
        self.call = call
        self.txn = txn
        self.log = log
        self.returned: Any = None
        """What the function that has ended last returned, as it did."""
        self.invoke = invoke
        self.deployment = deployment
        self.functions = functions
        self.identity_read = False
        self.rules: Mapping[str, TableRules] | None = None
        """Those that hold in this call; None where there are none."""
        self.all_rules: Mapping[str, TableRules] = {}
        """Those of the deployment."""
        self.every = 0
        self.upload_key = upload_key
        self.files: dict[str, NewFile] = {}
        """Contents of files that were stored, by checksum."""


class Auth:
    """``ctx.auth``."""

    __slots__ = ("_execution",)

    def __init__(self, execution: Execution) -> None:
        self._execution = execution

    def get_user_identity(self) -> dict[str, Any] | None:
        """Who calls: ``{"tokenIdentifier", "subject", "issuer", "name", ...}``, or None for nobody known.

        A query that asks is computed per person; one that does not is shared by all who subscribe to it.
        """
        self._execution.txn.check_running()
        self._execution.identity_read = True
        identity = self._execution.call.identity
        if identity is None:
            return None
        issuer, subject = identity.get("issuer", ""), identity.get("subject", "")
        return {"tokenIdentifier": f"{issuer}|{subject}", **identity}


def request_metadata(call: Call) -> dict[str, Any]:
    """What ``ctx.meta`` says of where a call comes from."""
    sender: dict[str, Any] = msgspec.msgpack.decode(call.origin) if call.origin else {"ip": None, "userAgent": None}
    return {"requestId": call.request_id, **sender, "scheduledFunctionId": call.job or None, "authToken": None}


class Meta:
    """``ctx.meta``: facts about the running call."""

    __slots__ = ("_execution", "_kind", "_path", "_visibility")

    def __init__(self, execution: Execution, path: str, kind: Kind, visibility: Visibility) -> None:
        self._execution = execution
        self._path = path
        self._kind = kind
        self._visibility = visibility

    def get_function_metadata(self) -> dict[str, Any]:
        """Name, type and visibility of this function."""
        return {"name": self._path, "componentPath": "", "type": self._kind, "visibility": self._visibility}

    def get_transaction_metrics(self) -> dict[str, dict[str, int]]:
        """How much of each limit this call has used, and what remains."""
        txn = self._execution.txn
        limits = txn.limits
        used = {
            "bytesRead": (txn.used.bytes_read, limits.bytes_read),
            "bytesWritten": (txn.used.bytes_written, limits.bytes_written),
            "databaseQueries": (txn.used.queries, limits.ranges_read),
            "documentsRead": (txn.used.documents_read, limits.documents_read),
            "documentsWritten": (txn.used.documents_written, limits.documents_written),
            "functionsScheduled": (txn.used.functions_scheduled, SCHEDULED_FUNCTIONS),
            "scheduledFunctionArgsBytes": (txn.used.scheduled_bytes, SCHEDULED_ARGS_TOTAL),
        }
        return {name: {"used": is_, "remaining": max(limit - is_, 0)} for name, (is_, limit) in used.items()}

    def get_deployment_metadata(self) -> dict[str, Any]:
        """Name of the deployment, and ``class``: whether it is in mode ``dev`` or ``prod``."""
        return self._execution.deployment.metadata()

    def get_snapshot_ts(self) -> Int64:
        """The timestamp (ns) that every read of this call sees."""
        return Int64(self._execution.txn.snapshot)

    def get_request_metadata(self) -> dict[str, Any]:
        """The id under which this request appears in logs and errors; in mutations also who sent it from where.

        ``ip`` and ``userAgent`` are None where the backend itself calls: a scheduled function, a cron job.
        """
        if self._kind == "query":  # whose result is everybody's
            return {"requestId": self._execution.call.request_id}
        return request_metadata(self._execution.call)


class QueryContext:
    """``ctx`` of a query: ``db auth storage env run_query now log meta``."""

    kind: Kind = "query"

    def __init__(self, execution: Execution, path: str, visibility: Visibility, depth: int) -> None:
        self._execution = execution
        self._path = path
        self._visibility: Visibility = visibility
        self._depth = depth
        self.db: DatabaseReader = (
            DatabaseReader(execution.txn, visibility != "public" or execution.call.reach != "public")
            if execution.rules is None or visibility != "public"
            else RuledReader(execution.txn, _guard(execution, depth))
        )
        self.log = Logger(execution.log)

    @property
    def auth(self) -> Auth:
        """Who calls."""
        return Auth(self._execution)

    @property
    def storage(self) -> StorageReader:
        """Stored files: ``ctx.storage.get_url(id)``."""
        return StorageReader(self._execution)

    @property
    def env(self) -> Environment:
        """Environment variables of the deployment: ``ctx.env["NAME"]``."""
        return Environment(self._execution.txn)

    @property
    def meta(self) -> Meta:
        """Facts about the running call."""
        return Meta(self._execution, self._path, self.kind, self._visibility)

    def now(self, *, every: float | None = None) -> int:
        """Milliseconds since the epoch; stands still during a call.

        Parameters
        ----------
        every
            Queries only: run again after so many milliseconds while somebody is subscribed (at least 1000).
        """
        self._execution.txn.check_running()
        if every is not None:
            self._repeat(every)
        return self._execution.call.now

    def run_query(self, reference: Any, args: dict[str, Any] | None = None, /, **kwargs: Any) -> Any:
        """Run another query in this transaction: ``ctx.run_query(api.posts.get, post_id=p)``."""
        return self._run("query", reference, args, kwargs)

    def _repeat(self, every: Any) -> None:
        if isinstance(every, bool) or not isinstance(every, (int, float)) or not every >= _SHORTEST_PERIOD:
            raise InvalidValue(f"ctx.now(every=...) takes milliseconds, at least {_SHORTEST_PERIOD}, not {every!r}")
        execution = self._execution
        execution.every = min(execution.every or int(every), int(every))

    def _run(self, kind: Kind, reference: Any, args: dict[str, Any] | None, kwargs: dict[str, Any]) -> Any:
        if args is not None and kwargs:
            raise InvalidValue(f"ctx.run_{kind} takes the arguments as one dict or as keywords, not both")
        self._execution.txn.check_running()
        if self._depth >= CALL_DEPTH:
            fix = "call an ordinary Python function instead of a query or mutation"
            self._execution.txn.abort(
                LimitExceeded(over("functions called inside each other", self._depth + 1, CALL_DEPTH, fix))
            )
        return self._execution.invoke(
            self._execution, reference, kwargs if args is None else args, kind, self._depth + 1
        )

    def all_tables(self) -> list[TableInfo]:
        """Every table; for functions of the system."""
        if self._visibility != "system":
            raise NotAllowed("ctx.all_tables() is for functions of the system")
        return self._execution.txn.all_tables()

    def all_rules(self) -> Mapping[str, TableRules]:
        """The row rules, by table; for functions of the system."""
        if self._visibility != "system":
            raise NotAllowed("ctx.all_rules() is for functions of the system")
        return self._execution.all_rules

    def table_info(self, name: str) -> TableInfo | None:
        """What there is to know about a table; for functions of the system."""
        if self._visibility != "system":
            raise NotAllowed("ctx.table_info() is for functions of the system")
        found = self._execution.txn.table(name)
        return found.info if found is not None else None

    def all_functions(self) -> Functions:
        """Every function, by path; for functions of the system."""
        if self._visibility != "system":
            raise NotAllowed("ctx.all_functions() is for functions of the system")
        return self._execution.functions

    if not TYPE_CHECKING:  # a type checker finds what is not there

        def __getattr__(self, name: str) -> Any:
            if name == "run_mutation":
                raise NotAllowed("a query cannot run a mutation; make the function a @mutation")
            if name == "scheduler":
                raise NotAllowed("a query cannot schedule anything; make the function a @mutation")
            raise AttributeError(f"ctx has no {name!r} in a {self.kind}")


def _guard(execution: Execution, depth: int) -> Guard:
    """What asks the rules for a function; they read as internal functions do."""
    assert execution.rules is not None
    return Guard(execution.rules, QueryContext(execution, "rules", "internal", depth), execution.log)


class MutationContext(QueryContext):
    """``ctx`` of a mutation: also writes, ``scheduler``, and ``run_mutation``."""

    kind: Kind = "mutation"

    def __init__(self, execution: Execution, path: str, visibility: Visibility, depth: int) -> None:
        super().__init__(execution, path, visibility, depth)
        self.db: DatabaseWriter = (  # pyright: ignore[reportIncompatibleVariableOverride]
            DatabaseWriter(execution.txn, visibility != "public" or execution.call.reach != "public")
            if execution.rules is None or visibility != "public"
            else RuledWriter(execution.txn, _guard(execution, depth))
        )

    @property
    def storage(self) -> StorageWriter:
        """Stored files: ``ctx.storage.generate_upload_url()``, ``ctx.storage.delete(id)``."""
        return StorageWriter(self._execution)

    @property
    def scheduler(self) -> Scheduler:
        """Runs functions later: ``ctx.scheduler.run_after(1000, internal.jobs.tick)``."""
        return Scheduler(self._execution, self._execution.functions)

    def run_mutation(self, reference: Any, args: dict[str, Any] | None = None, /, **kwargs: Any) -> Any:
        """Run another mutation in this transaction; if it raises and that is caught, only its writes are undone."""
        return self._run("mutation", reference, args, kwargs)

    def _repeat(self, every: Any) -> None:  # noqa: ARG002
        raise NotAllowed("ctx.now(every=...) repeats a subscribed query; a mutation runs once: leave every out")
