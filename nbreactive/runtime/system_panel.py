"""What the side panel asks for and does: names and arguments of its functions, and those that workers run.

What is in tables that functions may read (documents, jobs, files) is read here, by workers. What is not (calls, measurements,
the health of processes, deploys) is a live query, too, which the backend answers itself: :mod:`nbreactive.server.panel`. What
the panel does beside changing documents are actions of the backend: :mod:`nbreactive.server.operations`.

All but two are reached with the role ``deploy`` only: which functions there are, and how the backend is, is for everybody,
each as much of it as they may see.
"""

from __future__ import annotations

from typing import Any, Final, NoReturn

from nbreactive.errors import InvalidValue, NotAllowed
from nbreactive.functions.decorators import Function
from nbreactive.functions.specs import Kind, Visibility
from nbreactive.runtime.context import MutationContext, QueryContext
from nbreactive.values.kinds import UNSET
from nbreactive.values.validators import Validator, v

FUNCTIONS_LIST: Final = "nbreactive/panel:functions"
HEALTH: Final = "nbreactive/panel:health"
LOGS: Final = "_system/panel:logs"
METRICS: Final = "_system/panel:metrics"
SOURCE: Final = "_system/panel:source"
DEPLOYS: Final = "_system/panel:deploys"
DIFF: Final = "_system/panel:diff"
COMMITS: Final = "_system/panel:commits"
CRONS: Final = "_system/panel:crons"
VARIABLES: Final = "_system/panel:variables"
VARIABLE: Final = "_system/panel:variable"

RUN_JOB: Final = "_system/panel:run_job"
CANCEL_JOB: Final = "_system/panel:cancel_job"
RUN_CRON: Final = "_system/panel:run_cron"
ROLL_BACK: Final = "_system/panel:roll_back"
UNDO: Final = "_system/panel:undo"
SET_VARIABLE: Final = "_system/panel:set_variable"
UPLOAD_URL: Final = "_system/panel:upload_url"
DELETE_FILE: Final = "_system/panel:delete_file"

_MOST: Final = 500
_OPERATORS: Final = ("eq", "neq", "lt", "lte", "gt", "gte")


def _table(ctx: QueryContext, table: str) -> dict[str, Any] | None:
    """Schema, indexes and rules of a table."""
    found = ctx.table_info(table)
    if found is None:
        return None
    rules = ctx.all_rules().get(table)
    return {
        "name": found.name,
        "validator": found.validator,
        "storage": found.storage,
        "ephemeral": found.ephemeral,
        "module": found.module,
        "rules": list(rules.spec("").operations) if rules is not None else None,
        "indexes": [
            {"name": index.name, "fields": list(index.fields), "kind": index.kind, "state": index.state}
            for index in found.indexes
        ],
    }


def _page(ctx: QueryContext, table: str, paginationOpts: Any, order: Any = "desc", filters: Any = ()) -> Any:  # noqa: N803
    """One page of a table, of the documents for which all filters hold."""
    query = ctx.db.query(table).order(order)
    for one in filters:
        query = query.filter(lambda q, one=one: _condition(q, one))
    return query.paginate(paginationOpts)


def _condition(q: Any, one: dict[str, Any]) -> Any:
    operator = one.get("op")
    if operator not in _OPERATORS:
        raise InvalidValue(f"op is one of {', '.join(_OPERATORS)}", "args.filters")
    return getattr(q, operator)(q.field(one["field"]), one.get("value", UNSET))


def _change(ctx: MutationContext, ids: list[str], fields: Any, remove: Any = ()) -> int:
    """Change fields of documents, and remove those named in ``remove``; returns how many documents."""
    for id in ids:
        ctx.db.patch(id, {**fields, **dict.fromkeys(remove, UNSET)})
    return len(ids)


def _replace(ctx: MutationContext, id: str, document: Any) -> None:
    """Replace a document."""
    ctx.db.replace(id, document)


def _delete(ctx: MutationContext, ids: list[str]) -> int:
    """Delete documents; returns how many."""
    for id in ids:
        ctx.db.delete(id)
    return len(ids)


def _jobs(ctx: QueryContext, state: Any = None, limit: float = 100) -> list[dict[str, Any]]:
    """Scheduled functions, those last whose time comes last: the newest of one state, or of all."""
    query = ctx.db.system.query("_scheduled_functions")
    if state is not None:
        query = query.with_index("by_state", lambda q: q.eq("state.kind", state))
    return query.order("asc" if state == "pending" else "desc").take(min(int(limit), _MOST))


def _files(ctx: QueryContext, limit: float = 100) -> list[dict[str, Any]]:
    """The newest stored files, with their addresses."""
    found = ctx.db.system.query("_storage").order("desc").take(min(int(limit), _MOST))
    return [file | {"url": ctx.storage.get_url(file["_id"])} for file in found]


def _elsewhere(ctx: QueryContext, **args: Any) -> NoReturn:  # noqa: ARG001
    """The backend answers itself."""
    raise NotAllowed(f"{ctx.meta.get_function_metadata()['name']} is for clients; functions cannot call it")


def _function(
    path: str, kind: Kind, args: dict[str, Validator], handler: Any = _elsewhere, visibility: Visibility = "system"
) -> tuple[str, Function]:
    return path, Function(handler, kind, visibility, args=args, name=path.partition(":")[2])


_TEXT: Final = v.string()
_LIMIT: Final[dict[str, Validator]] = {"limit": v.number().optional()}
_IDS: Final[dict[str, Validator]] = {"ids": v.array(v.string())}
_ORDER: Final = v.union(v.literal("asc"), v.literal("desc")).optional()
_FILTERS: Final = v.array(v.object({"field": v.string(), "op": v.string(), "value": v.any().optional()})).optional()

FUNCTIONS: Final[dict[str, Function]] = dict(
    [
        _function(FUNCTIONS_LIST, "query", {}, visibility="public"),
        _function(HEALTH, "query", {}, visibility="public"),
        _function(
            LOGS,
            "query",
            {
                "function": _TEXT.optional(),
                "level": _TEXT.optional(),
                "text": _TEXT.optional(),
                "system": v.boolean().optional(),
                **_LIMIT,
            },
        ),
        _function(METRICS, "query", {}),
        _function(SOURCE, "query", {"module": _TEXT}),
        _function(DEPLOYS, "query", _LIMIT),
        _function(DIFF, "query", {"module": _TEXT, "version": v.number()}),
        _function(COMMITS, "query", {"table": _TEXT.optional(), **_LIMIT}),
        _function(CRONS, "query", {}),
        _function(VARIABLES, "query", {}),
        _function(VARIABLE, "query", {"name": _TEXT}),
        _function("_system/panel:table", "query", {"table": _TEXT}, _table),
        _function(
            "_system/panel:page",
            "query",
            {"table": _TEXT, "paginationOpts": v.any(), "order": _ORDER, "filters": _FILTERS},
            _page,
        ),
        _function("_system/panel:jobs", "query", {"state": _TEXT.optional(), **_LIMIT}, _jobs),
        _function("_system/panel:files", "query", _LIMIT, _files),
        _function(
            "_system/panel:change",
            "mutation",
            {**_IDS, "fields": v.any(), "remove": v.array(v.string()).optional()},
            _change,
        ),
        _function("_system/panel:replace", "mutation", {"id": _TEXT, "document": v.any()}, _replace),
        _function("_system/panel:delete", "mutation", _IDS, _delete),
        _function(RUN_JOB, "action", {"id": _TEXT}),
        _function(CANCEL_JOB, "action", {"id": _TEXT}),
        _function(RUN_CRON, "action", {"name": _TEXT}),
        _function(ROLL_BACK, "action", {"module": _TEXT, "version": v.number().optional()}),
        _function(UNDO, "action", {"commit": _TEXT}),
        _function(SET_VARIABLE, "action", {"name": _TEXT, "value": v.union(v.string(), v.null())}),
        _function(UPLOAD_URL, "action", {}),
        _function(DELETE_FILE, "action", {"id": _TEXT}),
    ]
)
"""By path."""
