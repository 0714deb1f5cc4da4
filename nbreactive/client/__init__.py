"""The client: calls, live queries, and the way to a backend."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, overload

from nbreactive.client import presence
from nbreactive.client.arguments import SKIP, path_of
from nbreactive.client.client import Client
from nbreactive.client.connecting import be_quiet, connect, connected, current, disconnect, install
from nbreactive.client.live import LiveQuery
from nbreactive.client.live_value import LiveValue
from nbreactive.client.local_store import LocalStore
from nbreactive.client.mutations import BoundMutation, use_mutation
from nbreactive.client.page_updates import (
    insert_at_bottom_if_loaded,
    insert_at_position,
    insert_at_top,
    update_in_page,
)
from nbreactive.client.paginated import PaginatedQuery
from nbreactive.client.presence import use_presence
from nbreactive.errors import ArgumentError, NBReactiveError

if TYPE_CHECKING:
    from nbreactive.client.arguments import Skip
    from nbreactive.client.bulk import Loaded
    from nbreactive.client.typed import LiveLike, PagesLike, Untyped
    from nbreactive.notebook.history import History

P = ParamSpec("P")
R = TypeVar("R")

__all__ = [
    "SKIP",
    "BoundMutation",
    "Client",
    "LiveQuery",
    "LocalStore",
    "PaginatedQuery",
    "be_quiet",
    "connect",
    "connected",
    "current",
    "disconnect",
    "download",
    "export",
    "history",
    "http_headers",
    "http_url",
    "insert_at_bottom_if_loaded",
    "insert_at_position",
    "insert_at_top",
    "install",
    "load",
    "presence",
    "render",
    "table",
    "update_in_page",
    "upload",
    "use_mutation",
    "use_paginated_query",
    "use_presence",
    "use_query",
]


@overload
def use_query(ref: Untyped, /, *skip: Any, **args: Any) -> LiveQuery: ...
@overload
def use_query(ref: LiveLike[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R: ...
@overload
def use_query(ref: LiveLike[..., R], skip: Skip, /) -> R: ...
def use_query(ref: Any, /, *skip: Any, **args: Any) -> Any:
    """Make a query live: the same as ``ref.live(**args)``; ``use_query(ref, SKIP)`` waits for arguments."""
    given = _given("use_query", ref, skip, args)
    return ref.live(dict(given)) if callable(getattr(ref, "live", None)) else current().live(ref, given)


@overload
def use_paginated_query(ref: Untyped, /, *skip: Any, **args: Any) -> PaginatedQuery: ...
@overload
def use_paginated_query(ref: PagesLike[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R: ...
@overload
def use_paginated_query(ref: PagesLike[..., R], skip: Skip, /) -> R: ...
def use_paginated_query(ref: Any, /, *skip: Any, **args: Any) -> Any:
    """Make a paginated query live: its first page now, more with ``.load_more()``, all of them live.

    The function takes a parameter hinted ``PaginationOpts`` and returns what ``.paginate(opts)`` gives; that argument is
    given by the paginated query, all others here. Widgets among them begin again at the first page when they change;
    ``use_paginated_query(ref, SKIP)`` waits for arguments.

    Examples
    --------
    >>> page = use_paginated_query(api.posts.list.options(page_size=20), author=a)       # doctest: +SKIP
    >>> page.load_more(); page.results; page.status       # doctest: +SKIP
    """
    from nbreactive.functions.references import options_of

    given = _given("use_paginated_query", ref, skip, args)
    try:
        return current().paginated(ref, given, options_of(ref))
    except NBReactiveError as error:
        raise error.with_traceback(None) from None  # the user's lines, and not our own


def _given(name: str, ref: Any, skip: tuple[Any, ...], args: dict[str, Any]) -> Mapping[str, Any]:
    if len(skip) == 1 and not args:
        return {"": SKIP} if skip[0] is SKIP else skip[0]
    if skip:
        raise ArgumentError(f"{name}({path_of(ref)}, ...) takes keywords, or one dict, or SKIP.")
    return args


def render(draw: Callable[..., Any], *queries: LiveValue) -> Any:
    """Show what ``draw(value1, value2, ...)`` returns, and draw it again whenever one of the queries changes.

    Parameters
    ----------
    draw
        Takes the value of each query and returns anything that a cell can show: a figure, a chart, a widget, HTML.
    *queries
        The live queries to follow.

    Examples
    --------
    >>> nbreactive.render(lambda sales, costs: bars(sales, costs), sales, costs)       # doctest: +SKIP
    """
    from nbreactive.notebook.render import Rendering

    if not queries:
        raise ArgumentError("render(fn, q1, q2, ...) needs at least one live query to follow.")
    return Rendering(lambda: draw(*(query.value for query in queries)), list(queries))


def upload(url: str, content: Any, *, content_type: str | None = None) -> str:
    """Upload a file to an address of ``ctx.storage.generate_upload_url()``, and return its id.

    Parameters
    ----------
    url
        The address, good for one file within an hour.
    content
        Bytes, a path, or a file that is open for reading bytes; streamed, whatever its size.
    content_type
        ``image/png``, for whoever downloads it.

    Examples
    --------
    >>> id = nbreactive.upload(api.files.generate_upload_url(), "photo.png", content_type="image/png")       # doctest: +SKIP
    """
    try:
        return current().upload(url, content, content_type=content_type)
    except NBReactiveError as error:
        raise error.with_traceback(None) from None  # the user's lines, and not our own


def download(url: str, to: str | Path | None = None) -> bytes | None:
    """Return the content of a stored file, or write it to the path ``to``.

    Parameters
    ----------
    url
        An address of ``ctx.storage.get_url(id)``.
    to
        Where to; large files should not be in memory as a whole.

    Examples
    --------
    >>> data = nbreactive.download(api.files.url(id=id))       # doctest: +SKIP
    """
    try:
        return current().download(url, to)
    except NBReactiveError as error:
        raise error.with_traceback(None) from None  # the user's lines, and not our own


def http_url(path: str = "/") -> str:
    """Return the address of an HTTP action of the connected deployment, as this process reaches it.

    Behind a Jupyter server only its users are answered: send the headers of :func:`http_headers`, too.

    Examples
    --------
    >>> nbreactive.http_url("/hook")       # doctest: +SKIP
    'http://127.0.0.1:8888/nbreactive/http/hook'
    """
    try:
        return current().target.http_url(path)
    except NBReactiveError as error:
        raise error.with_traceback(None) from None  # the user's lines, and not our own


def http_headers() -> dict[str, str]:
    """Return the headers that open :func:`http_url`: the token of a Jupyter server; none where no server is before it.

    The token opens the whole Jupyter server: send it nowhere else. An action never sees it.

    Examples
    --------
    >>> request = urllib.request.Request(nbreactive.http_url("/hook"), data, nbreactive.http_headers())       # doctest: +SKIP
    """
    try:
        return current().target.http_headers()
    except NBReactiveError as error:
        raise error.with_traceback(None) from None  # the user's lines, and not our own


def table(name: str, *, limit: int = 1000, order: str = "desc") -> LiveQuery:
    """Show a table live, in one line, without a function (needs the right to deploy).

    Parameters
    ----------
    name
        The table.
    limit
        How many rows are kept live, at most; ``.df()``, ``.pl()`` and ``.arrow()`` of the result give all of them.
    order
        ``"desc"``: the newest rows; ``"asc"``: the oldest.

    Examples
    --------
    >>> orders = nbreactive.table("orders", limit=50)       # doctest: +SKIP
    >>> orders.df().groupby("product")["amount"].sum()       # doctest: +SKIP
    """
    from nbreactive.notebook.table import TableQuery

    try:
        return TableQuery.open(current(), name, limit, order)
    except NBReactiveError as error:
        raise error.with_traceback(None) from None  # the user's lines, and not our own


def history(what: Any, /, *, limit: int = 200, **args: Any) -> History:
    """Return a slider over the last commits, with a view of what a table, or a query, gave then (needs the right to deploy).

    At its right end is now, which is live. ``.live`` of the result is the query: ``.live.render(...)`` draws what the slider
    shows.

    Parameters
    ----------
    what
        The name of a table, a SELECT, a query, or something live: a query, a result of SQL.
    limit
        How many commits to stop at, from the last one back; of a table: those that changed it.
    **args
        The arguments of the query, or the parameters of the SELECT.

    Examples
    --------
    >>> nbreactive.history("orders")       # doctest: +SKIP
    >>> past = nbreactive.history(api.orders.by_item, item="tea")       # doctest: +SKIP
    """
    from nbreactive.client.live_frame import LiveFrame
    from nbreactive.notebook.history import History
    from nbreactive.notebook.table import TableQuery

    try:
        if isinstance(what, str) and len(what.split()) > 1:
            return History(LiveFrame.open(current(), what, args), limit=limit)
        if isinstance(what, str) and ":" not in what:
            return History(TableQuery.open(current(), what, 1000, "desc"), table=what, limit=limit)
        if isinstance(what, LiveQuery):
            return what.history(limit=limit)
        return History(current().live(what, args), limit=limit)
    except NBReactiveError as error:
        raise error.with_traceback(None) from None  # the user's lines, and not our own


def load(name: str, data: Any, *, id: str | None = None, progress: Callable[[str], None] | None = None) -> Loaded:
    """Load the rows of ``data`` into a table, fast and each exactly once; returns how many, and the ids that they have.

    Rows are checked against the schema. They are committed in batches, each as one change of the table: if a row is wrong, the
    error names it, and what was loaded before it stays. A load that was broken off (a lost connection, a killed kernel, a
    wrong row that was put right) goes on where it was when the same data is loaded again: what is there is not loaded twice.

    Parameters
    ----------
    name
        The table; it is made if it does not exist.
    data
        A pandas or polars DataFrame, anything with ``__arrow_c_stream__`` (pyarrow, DuckDB relations), a path or a glob of
        Parquet, CSV or Arrow files, a list of dicts, or a dict of columns. Nulls become None, or are left out where the
        schema says ``v.optional``; moments (with a time zone) are milliseconds since the epoch.
    id
        Names the load. Without it, equal data is the same load: to load it once more, say another id.
    progress
        Takes the lines that say how far it is, which otherwise go to the cell.

    Examples
    --------
    >>> nbreactive.load("orders", pandas.read_csv("orders.csv"))       # doctest: +SKIP
    <12,000 rows loaded into 'orders'>
    >>> nbreactive.load("orders", "exports/2026-*.parquet").ids       # doctest: +SKIP
    """
    from nbreactive.notebook.table import load as load_into

    try:
        return load_into(current(), name, data, id=id, progress=progress)
    except NBReactiveError as error:
        raise error.with_traceback(None) from None


def export(what: str | LiveValue, path: str | Path, **params: Any) -> int:
    """Write a table, or the result of a SELECT, into a file; returns the number of rows.

    Rows are written as they come, so there may be more than fit into memory; those of a live result are as it shows them.

    Parameters
    ----------
    what
        The name of a table, a SELECT, or a live result (of SQL, or of a table).
    path
        The file; ``.parquet``, ``.csv``, ``.arrow`` or ``.duckdb`` says of which kind. It is replaced if it is there.
    **params
        Values of the parameters ``$name`` of a SELECT.

    Examples
    --------
    >>> nbreactive.export("orders", "orders.parquet")       # doctest: +SKIP
    >>> nbreactive.export("SELECT * FROM orders WHERE amount > $least", "large.csv", least=100)       # doctest: +SKIP
    """
    from nbreactive.client.exports import export as write

    try:
        return write(current(), what, path, params)
    except NBReactiveError as error:
        raise error.with_traceback(None) from None  # the user's lines, and not our own
