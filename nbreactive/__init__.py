"""A reactive database for notebooks: functions written in Python, live results in widgets.

Importing this package imports nothing else: every name is fetched from its home when it is first used, so that a
kernel never loads what belongs to the server, nor a server what belongs to notebooks.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from nbreactive._version import __version__

if TYPE_CHECKING:
    from nbreactive.client import (
        SKIP,
        Client,
        LiveQuery,
        LocalStore,
        PaginatedQuery,
        connect,
        download,
        export,
        history,
        http_headers,
        http_url,
        insert_at_bottom_if_loaded,
        insert_at_position,
        insert_at_top,
        load,
        presence,
        render,
        table,
        update_in_page,
        upload,
        use_mutation,
        use_paginated_query,
        use_presence,
        use_query,
    )
    from nbreactive.client.live_frame import LiveFrame
    from nbreactive.client.live_sql import sql
    from nbreactive.errors import (
        AppError,
        ArgumentError,
        FunctionFailed,
        FunctionNotFound,
        NBReactiveError,
        NotConnected,
        Refused,
        RuleRefused,
        Unauthenticated,
    )
    from nbreactive.functions.crons import cron_jobs
    from nbreactive.functions.decorators import (
        action,
        internal_action,
        internal_mutation,
        internal_query,
        mutation,
        query,
    )
    from nbreactive.functions.fusion import reciprocal_rank_fusion
    from nbreactive.functions.http import HttpRouter, Response, http_action, http_router
    from nbreactive.functions.pagination import (
        PaginationOpts,
        PaginationResult,
        pagination_opts_validator,
        pagination_result_validator,
    )
    from nbreactive.functions.references import api, internal
    from nbreactive.functions.rules import rules
    from nbreactive.functions.schema import define_schema, define_table
    from nbreactive.notebook import load_ipython_extension, unload_ipython_extension
    from nbreactive.notebook.file_upload import FileUpload
    from nbreactive.notebook.infinite_list import InfiniteList
    from nbreactive.notebook.live_chart import LiveChart
    from nbreactive.notebook.live_form import LiveForm
    from nbreactive.notebook.live_table import LiveTable
    from nbreactive.notebook.live_value import LiveValue
    from nbreactive.notebook.presence_bar import PresenceBar
    from nbreactive.notebook.text_editor import TextEditor
    from nbreactive.runtime.typed import ActionCtx, BlockingActionCtx, MutationCtx, QueryCtx
    from nbreactive.values.ids import Id
    from nbreactive.values.kinds import UNSET, Int64
    from nbreactive.values.validators import v

_HOMES = {
    "nbreactive.client": (
        "SKIP",
        "Client",
        "LiveQuery",
        "LocalStore",
        "PaginatedQuery",
        "connect",
        "download",
        "export",
        "history",
        "http_headers",
        "http_url",
        "insert_at_bottom_if_loaded",
        "insert_at_position",
        "insert_at_top",
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
    ),
    "nbreactive.client.live_frame": ("LiveFrame",),
    "nbreactive.client.live_sql": ("sql",),
    "nbreactive.errors": (
        "AppError",
        "ArgumentError",
        "FunctionFailed",
        "FunctionNotFound",
        "NBReactiveError",
        "NotConnected",
        "Refused",
        "RuleRefused",
        "Unauthenticated",
    ),
    "nbreactive.functions.decorators": (
        "action",
        "internal_action",
        "internal_mutation",
        "internal_query",
        "mutation",
        "query",
    ),
    "nbreactive.functions.pagination": (
        "PaginationOpts",
        "PaginationResult",
        "pagination_opts_validator",
        "pagination_result_validator",
    ),
    "nbreactive.functions.crons": ("cron_jobs",),
    "nbreactive.functions.fusion": ("reciprocal_rank_fusion",),
    "nbreactive.functions.http": ("HttpRouter", "Response", "http_action", "http_router"),
    "nbreactive.functions.references": ("api", "internal"),
    "nbreactive.functions.rules": ("rules",),
    "nbreactive.functions.schema": ("define_schema", "define_table"),
    "nbreactive.notebook": ("load_ipython_extension", "unload_ipython_extension"),
    "nbreactive.notebook.presence_bar": ("PresenceBar",),
    "nbreactive.notebook.file_upload": ("FileUpload",),
    "nbreactive.notebook.infinite_list": ("InfiniteList",),
    "nbreactive.notebook.live_chart": ("LiveChart",),
    "nbreactive.notebook.live_form": ("LiveForm",),
    "nbreactive.notebook.live_table": ("LiveTable",),
    "nbreactive.notebook.live_value": ("LiveValue",),
    "nbreactive.notebook.text_editor": ("TextEditor",),
    "nbreactive.runtime.typed": ("ActionCtx", "BlockingActionCtx", "MutationCtx", "QueryCtx"),
    "nbreactive.values.ids": ("Id",),
    "nbreactive.values.kinds": ("UNSET", "Int64"),
    "nbreactive.values.validators": ("v",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "SKIP",
    "UNSET",
    "ActionCtx",
    "AppError",
    "ArgumentError",
    "BlockingActionCtx",
    "Client",
    "FileUpload",
    "FunctionFailed",
    "FunctionNotFound",
    "HttpRouter",
    "Id",
    "InfiniteList",
    "Int64",
    "LiveChart",
    "LiveForm",
    "LiveFrame",
    "LiveQuery",
    "LiveTable",
    "LiveValue",
    "LocalStore",
    "MutationCtx",
    "NBReactiveError",
    "NotConnected",
    "PaginatedQuery",
    "PaginationOpts",
    "PaginationResult",
    "PresenceBar",
    "QueryCtx",
    "Refused",
    "Response",
    "RuleRefused",
    "TextEditor",
    "Unauthenticated",
    "__version__",
    "action",
    "api",
    "connect",
    "cron_jobs",
    "define_schema",
    "define_table",
    "download",
    "export",
    "history",
    "http_action",
    "http_headers",
    "http_router",
    "http_url",
    "insert_at_bottom_if_loaded",
    "insert_at_position",
    "insert_at_top",
    "internal",
    "internal_action",
    "internal_mutation",
    "internal_query",
    "load",
    "load_ipython_extension",
    "mutation",
    "pagination_opts_validator",
    "pagination_result_validator",
    "presence",
    "query",
    "reciprocal_rank_fusion",
    "render",
    "rules",
    "sql",
    "table",
    "unload_ipython_extension",
    "update_in_page",
    "upload",
    "use_mutation",
    "use_paginated_query",
    "use_presence",
    "use_query",
    "v",
]


def _jupyter_server_extension_points() -> list[dict[str, Any]]:
    """Tell a Jupyter server where its extension is."""
    from nbreactive.jupyter import _jupyter_server_extension_points as points

    return points()


def _jupyter_labextension_paths() -> list[dict[str, str]]:
    """Tell JupyterLab where the built front end is."""
    return [{"src": "labextension", "dest": "nbreactive"}]


def __getattr__(name: str) -> Any:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module 'nbreactive' has no attribute {name!r}")
    value = getattr(importlib.import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
