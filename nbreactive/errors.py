"""The one tree of errors.

Every message says what was wrong, where, and how to mend it. ``code`` is the short name that travels over the
wire; :func:`from_wire` turns it back into the class on the client's side.
"""

from __future__ import annotations

from typing import Any, ClassVar


class NBReactiveError(Exception):
    """Base of every error that nbreactive raises on purpose."""

    code: ClassVar[str] = "Error"

    @property
    def message(self) -> str:
        """The text of the error, without the name of its class."""
        return str(self.args[0]) if self.args else ""


# ---- what a caller or an author of functions did ---------------------------------------------------------


class AppError(NBReactiveError):
    """Raised by a function on purpose: ``data`` reaches the caller in production mode too.

    Parameters
    ----------
    data
        Any value of the value model, e.g. ``{"code": "NOT_FOUND", "id": post_id}``.

    Examples
    --------
    >>> AppError({"code": "NOT_FOUND"}).data
    {'code': 'NOT_FOUND'}
    """

    code = "AppError"

    def __init__(self, data: Any, message: str | None = None) -> None:
        super().__init__(message if message is not None else data if isinstance(data, str) else repr(data))
        self.data = data


class InvalidCursor(AppError):
    """A cursor of a page is not one of this query as it is now: load the first page again.

    ``data`` says so in the way that Convex's React hooks know, which then begin anew by themselves.
    """

    code = "InvalidCursor"

    def __init__(self, data: Any = None, message: str | None = None) -> None:
        super().__init__(
            {"isConvexSystemError": True, "paginationError": "InvalidCursor"} if data is None else data,
            message
            or "InvalidCursor: the cursor belongs to another query, or to this one as it was before its range, order or"
            " filter changed; load the first page again (cursor: null)",
        )


class InvalidValue(NBReactiveError, ValueError):
    """A value is outside the value model (``where`` names the path, e.g. ``args.items[3].price``)."""

    code = "InvalidValue"

    def __init__(self, message: str, where: str = "") -> None:
        super().__init__(f"{where}: {message}" if where else message)
        self.where = where


class InvalidId(InvalidValue):
    """A string is not an id, or is the id of another table."""

    code = "InvalidId"


class LimitExceeded(InvalidValue):
    """A value, a transaction or a connection is over a limit of :mod:`nbreactive.values.limits`."""

    code = "LimitExceeded"


class NoDocumentsForPagination(InvalidValue):
    """A page of no documents was asked for."""

    code = "NoDocumentsForPagination"


class PageSizeTooLarge(LimitExceeded):
    """A page of more documents was asked for than one transaction reads."""

    code = "PageSizeTooLarge"


class HistoryGone(InvalidValue):
    """An earlier time was asked for than those of which the history is kept."""

    code = "HistoryGone"


class BadRequest(InvalidValue):
    """The body of an HTTP request is not what the action reads it as: it is answered with 400."""

    code = "BadRequest"


class ArgumentError(InvalidValue):
    """The arguments of a call do not match the function's validator."""

    code = "ArgumentValidationError"


class ReturnsError(InvalidValue):
    """What a function returned does not match its ``returns`` validator."""

    code = "ReturnsValidationError"


class SchemaError(InvalidValue):
    """A document does not match the schema of its table, or a schema is not well formed."""

    code = "SchemaError"


class SqlError(InvalidValue):
    """A SQL statement is wrong, or fails on the data as it is."""

    code = "SqlError"


class FunctionNotFound(NBReactiveError):
    """No function of that name is deployed, or the caller may not see it (the two look the same)."""

    code = "FunctionNotFound"


class FunctionFailed(NBReactiveError):
    """A function raised; ``trace`` holds the user's own frames (development mode only)."""

    code = "FunctionFailed"

    def __init__(self, message: str, request_id: str = "", trace: str = "") -> None:
        super().__init__(message)
        self.request_id = request_id
        self.trace = trace


class FunctionTimeout(FunctionFailed):
    """A function used more than its time and was killed; it has written nothing."""

    code = "FunctionTimeout"


class FunctionCrashed(FunctionFailed):
    """The process of a function died (segmentation fault, ``os._exit``, ...); it has written nothing."""

    code = "FunctionCrashed"


class FunctionOutOfMemory(FunctionFailed):
    """A function asked for more memory than a worker may have; it has written nothing."""

    code = "FunctionOutOfMemory"


class NotAllowed(NBReactiveError):
    """Something that queries and mutations must not do (sockets, threads, writing files, ...)."""

    code = "NotAllowed"


class SqlTimeout(NBReactiveError):
    """A SQL statement took more than its time and was ended."""

    code = "SqlTimeout"


class MissingVariable(NBReactiveError, KeyError):
    """``ctx.env`` was asked for an environment variable that is not set."""

    code = "MissingVariable"

    def __str__(self) -> str:
        return self.message  # KeyError would quote it


class MultiplePaginatedDatabaseQueries(NotAllowed):
    """A function reads more than one page."""

    code = "MultiplePaginatedDatabaseQueries"


class DeployRefused(NBReactiveError):
    """A deploy changed nothing, because of ``issues`` (each has file, line, reason and fix)."""

    code = "DeployRefused"

    def __init__(self, message: str, issues: list[dict[str, Any]] | None = None) -> None:
        super().__init__(message)
        self.issues = issues or []


class StaleModule(DeployRefused):
    """The module was changed by somebody else since this copy was made; ``diff`` shows how."""

    code = "StaleModule"

    def __init__(self, message: str, diff: str = "", current: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.diff = diff
        self.current = current or {}


# ---- what the system says --------------------------------------------------------------------------------


class NotConnected(NBReactiveError, ConnectionError):
    """There is no backend to talk to; the message names the ways to get one."""

    code = "NotConnected"


class Refused(NBReactiveError, PermissionError):
    """The backend knows who is asking and says no."""

    code = "Refused"


class Unauthenticated(Refused):
    """A token or key was given that is not valid (any more): sign in again."""

    code = "Unauthenticated"


class RuleRefused(Refused):
    """A row rule does not allow a write."""

    code = "RuleRefused"


class ProtocolError(NBReactiveError):
    """The other side sent something that the protocol does not have."""

    code = "ProtocolError"


class Unavailable(NBReactiveError):
    """The backend cannot do this now; trying again later may work."""

    code = "Unavailable"


class Overloaded(Unavailable):
    """Too much is waiting already; the call was not started."""

    code = "Overloaded"


class ReadOnly(Unavailable):
    """The disk refuses writes (full, or failing): reads go on, and writes again once there is room."""

    code = "ReadOnly"


class Conflict(NBReactiveError):
    """Optimistic concurrency control: what the transaction read has changed. Never reaches a client."""

    code = "OptimisticConcurrencyControlFailure"


class UndoRefused(Conflict):
    """A commit cannot be undone as it is asked for; nothing was changed."""

    code = "UndoRefused"


class DataFolderError(NBReactiveError):
    """The data folder cannot be used: in use by another backend, of another format, damaged, on a network drive."""

    code = "DataFolderError"


class MissingPackage(NBReactiveError, ImportError):
    """An optional package is asked for and not installed; the message names what to install."""

    code = "MissingPackage"


def _tree(cls: type[NBReactiveError]) -> dict[str, type[NBReactiveError]]:
    found = {cls.code: cls}
    for sub in cls.__subclasses__():
        found |= _tree(sub)
    return found


def from_wire(code: str, message: str, **details: Any) -> NBReactiveError:
    """Rebuild an error from its ``code``; unknown codes give the base class.

    Examples
    --------
    >>> type(from_wire("FunctionTimeout", "killed after 1 s")).__name__
    'FunctionTimeout'
    """
    cls = _tree(NBReactiveError).get(code, NBReactiveError)
    if issubclass(cls, AppError):
        return cls(details.get("data"), message)
    error = cls.__new__(cls)
    Exception.__init__(error, message)
    absent: dict[str, Any] = {"request_id": "", "trace": "", "issues": [], "diff": "", "current": {}, "where": ""}
    error.__dict__.update(absent | details)
    return error
