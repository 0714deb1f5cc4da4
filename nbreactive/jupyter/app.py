"""The server extension, as Jupyter loads it: configuration, routes, start and stop.

It imports neither the engine nor user code nor DuckDB: those live in the backend process.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from jupyter_server.extension.application import ExtensionApp
from traitlets import Dict, Enum, Float, Int, List, Unicode, default

from nbreactive.jupyter.handlers import HANDLERS
from nbreactive.jupyter.runtime import RUNTIME_KEY, Runtime
from nbreactive.jupyter.storage import STORAGE_HANDLERS
from nbreactive.jupyter.supervisor import Supervisor


class NBReactiveApp(ExtensionApp):
    """nbreactive in a Jupyter server."""

    name = "nbreactive"
    app_name = "nbreactive"
    description = "A reactive database for notebooks, in this Jupyter server."
    load_other_extensions = True

    deployment = Unicode("default", config=True, help="Name of this server's deployment.")
    mode = Enum(("dev", "prod"), "dev", config=True, help="prod hides error texts and log lines from callers.")
    deployments = Dict(
        value_trait=Enum(("dev", "prod")),
        key_trait=Unicode(),
        config=True,
        help="Further deployments by name, with their mode: {'staging': 'dev', 'production': 'prod'}. Each has data and"
        " functions of its own, in folders named like those of the first with -NAME behind.",
    )
    trusted_issuers = List(
        Unicode(),
        config=True,
        help="Hosts of sign-in providers that may be asked over http and at private addresses: ['keycloak.internal'].",
    )
    limits = Dict(
        key_trait=Unicode(),
        config=True,
        help="Limits that are to be others than usual, e.g. {'documents_read': 64_000}; see docs/limits.md.",
    )
    url = Unicode("", config=True, help="Where others reach the first deployment, for functions (CONVEX_CLOUD_URL).")
    data_dir = Unicode(config=True, help="Data folder; default: .nbreactive in the server's root folder.")
    functions_dir = Unicode(
        config=True, help="Watched folder of functions; default: reactive in the server's root folder."
    )
    files = Unicode(
        "", config=True, help="Where stored files are kept, e.g. s3://bucket/files; default: files in the data folder."
    )
    workers = Int(0, config=True, help="Number of function workers; 0 leaves it to the backend.")
    backend_command = List(
        Unicode(),
        [sys.executable, "-m", "nbreactive"],
        config=True,
        help="What runs the backend; name another environment's Python to give functions packages of their own.",
    )
    attach = Dict(
        key_trait=Unicode(),
        value_trait=Unicode(),
        config=True,
        help="Parquet files and DuckDB or Postgres databases that SQL may read: name -> path, {'geo': '/data/geo.parquet'}.",
    )
    keep_history = Unicode(
        "14d", config=True, help="How long older versions of documents are kept, e.g. 36h; the newest stay for ever."
    )
    drain_seconds = Float(15.0, config=True, help="How long the backend may take to finish when the server stops.")

    @default("data_dir")
    def _default_data_dir(self) -> str:
        return str(self._root / ".nbreactive")

    @default("functions_dir")
    def _default_functions_dir(self) -> str:
        return str(self._root / "reactive")

    @property
    def _root(self) -> Path:
        assert self.serverapp is not None
        return Path(self.serverapp.root_dir).expanduser().absolute()

    def initialize_settings(self) -> None:
        """Make what the handlers share. Nothing is started yet: many servers never use it."""
        data = Path(self.data_dir).expanduser().absolute()
        arguments = ["serve", self.functions_dir, "--data", str(data), "--host", "127.0.0.1", "--port", "0"]
        arguments += ["--deployment", self.deployment, "--mode", self.mode, "--require-auth"]
        arguments += [word for name, mode in self.deployments.items() for word in ("--also", f"{name}={mode}")]
        arguments += [word for name, number in self.limits.items() for word in ("--limit", f"{name}={number}")]
        arguments += [word for host in self.trusted_issuers for word in ("--trust-issuer", host)]
        if self.url:
            arguments += ["--url", self.url]
        if self.files:
            arguments += ["--files", self.files]
        arguments += [word for name, place in self.attach.items() for word in ("--attach", f"{name}={place}")]
        arguments += ["--keep-history", self.keep_history]
        if self.workers:
            arguments += ["--workers", str(self.workers)]
        supervisor = Supervisor(
            data, arguments, self.log, command=self.backend_command, drain_seconds=self.drain_seconds
        )
        self.settings[RUNTIME_KEY] = Runtime(self.serverapp, supervisor, self.deployment, self.deployments)

    def initialize_handlers(self) -> None:
        """Add the routes."""
        self.handlers.extend([*STORAGE_HANDLERS, *HANDLERS])

    def current_activity(self) -> Any:
        """What keeps the server from shutting down for want of activity."""
        connections = self._runtime.connections
        return {"connections": connections} if connections else None

    async def stop_extension(self) -> None:
        """Let the backend finish, and end it."""
        await self._runtime.supervisor.stop()

    @property
    def _runtime(self) -> Runtime:
        assert self.serverapp is not None
        return self.serverapp.web_app.settings[RUNTIME_KEY]


main = NBReactiveApp.launch_instance
