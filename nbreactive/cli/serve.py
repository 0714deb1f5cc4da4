"""``nbreactive serve``: one backend in the foreground, until it is told to stop.

It stops on SIGTERM and Ctrl-C, on the end of standard input if ``NBREACTIVE_EXIT_WITH_STDIN=1`` (so that it never
outlives the Jupyter server that started it), and after ``--idle-exit`` seconds without a connection.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import signal
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

from nbreactive._loops import run_backend
from nbreactive.columns.attached import source_of
from nbreactive.errors import InvalidValue
from nbreactive.server.backend import Backend, BackendConfig
from nbreactive.server.deployments import check_name, check_names
from nbreactive.server.limits import parse_limits
from nbreactive.services.retention import KEEP_SECONDS, seconds_of
from nbreactive.values.limits import ACTION_SECONDS


def add_command(commands: Any) -> None:
    """Add the command to a parser."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "serve", help="serve a deployment", description="Serve a deployment in the foreground."
    )
    add_options(parser)
    parser.set_defaults(run=run)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what says how a deployment is served."""
    parser.add_argument(
        "functions",
        nargs="?",
        type=Path,
        metavar="FUNCTIONS_DIR",
        help="folder with modules of server functions, pushed as they are saved",
    )
    parser.add_argument(
        "--data", type=Path, default=Path(".nbreactive"), metavar="DIR", help="data folder (default: .nbreactive)"
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: 127.0.0.1)")
    parser.add_argument("--port", type=int, default=3210, help="port to listen on; 0 takes a free one (default: 3210)")
    parser.add_argument(
        "--http-port", type=int, metavar="PORT", help="serve HTTP actions on this port, too, at / rather than /http"
    )
    parser.add_argument(
        "--admin-key",
        metavar="KEY",
        help="key for deploying (default: $NBREACTIVE_ADMIN_KEY, else the one in DIR/admin.key)",
    )
    parser.add_argument("--require-auth", action="store_true", help="answer only callers with credentials")
    parser.add_argument(
        "--trust-issuer",
        action="append",
        default=[],
        metavar="HOST[:PORT]",
        help="let a sign-in provider be at a private address, and use http (repeatable)",
    )
    parser.add_argument(
        "--allow-origin",
        action="append",
        default=[],
        metavar="ORIGIN",
        help="admit web pages of this origin (repeatable; * admits all)",
    )
    parser.add_argument(
        "--deployment", default="default", metavar="NAME", help="name of the deployment (default: default)"
    )
    parser.add_argument(
        "--also",
        action="append",
        default=[],
        metavar="NAME[=MODE]",
        help="another deployment (repeatable), at /NAME/api/...: functions in FUNCTIONS_DIR-NAME, data in DIR-NAME",
    )
    parser.add_argument(
        "--url",
        "--public-url",
        metavar="URL",
        help="where others reach this deployment, for functions (default: where it listens)",
    )
    parser.add_argument(
        "--files",
        metavar="URL",
        help="keep stored files there, e.g. s3://bucket/files (needs s3fs, gcsfs, ...; default: DATA/files)",
    )
    parser.add_argument(
        "--attach",
        action="append",
        default=[],
        metavar="NAME=PATH",
        help="let SQL read these Parquet files, or this DuckDB or Postgres database (repeatable; see docs/bulk.md)",
    )
    parser.add_argument(
        "--limit",
        action="append",
        default=[],
        metavar="NAME=NUMBER",
        help="change a limit, e.g. documents_read=64000 (repeatable; see docs/limits.md)",
    )
    parser.add_argument(
        "--keep-history",
        type=seconds_of,
        default=KEEP_SECONDS,
        metavar="TIME",
        help="how long older versions of documents are kept, e.g. 36h; the newest stay for ever (default: 14d)",
    )
    parser.add_argument("--workers", type=int, default=2, metavar="N", help="function workers (default: 2)")
    parser.add_argument(
        "--action-seconds",
        type=float,
        default=ACTION_SECONDS,
        metavar="SECONDS",
        help="how long an action may run (default: %(default)g)",
    )
    parser.add_argument(
        "--mode",
        choices=("dev", "prod"),
        default="dev",
        help="prod hides error texts and log lines from callers (default: dev)",
    )
    parser.add_argument(
        "--no-jobs",
        dest="jobs",
        action="store_false",
        help="begin no scheduled functions and cron jobs, e.g. to look at a restored backup; they are due at the next start",
    )
    parser.add_argument(
        "--hub", action="store_true", help="be a service of the JupyterHub that starts this: its users, its scopes"
    )
    parser.add_argument(
        "--hub-seconds",
        type=float,
        default=60.0,
        metavar="SECONDS",
        help="after how long a permission that was taken away on the Hub is gone here (default: %(default)g)",
    )
    parser.add_argument("--idle-exit", type=float, metavar="SECONDS", help="stop after so long without a connection")
    parser.add_argument("--verbose", action="store_true", help="write a line for every call")


def run(options: argparse.Namespace) -> int:
    """Run the command."""
    if options.hub:
        from nbreactive.hub import service

        return service.run(options)
    limits = parse_limits(options.limit)
    config = BackendConfig(
        data=options.data.resolve(),
        functions=options.functions.resolve() if options.functions else None,
        host=options.host,
        port=options.port,
        http_port=options.http_port,
        admin_key=options.admin_key or os.environ.get("NBREACTIVE_ADMIN_KEY"),
        proxy_secret=os.environ.pop("NBREACTIVE_PROXY_SECRET", None),
        require_auth=options.require_auth,
        trusted_issuers=tuple(options.trust_issuer),
        allowed_origins=tuple(options.allow_origin),
        deployment=check_name(options.deployment),
        workers=options.workers,
        action_seconds=options.action_seconds,
        mode=options.mode,
        keep_history=options.keep_history,
        jobs=options.jobs,
        verbose=options.verbose,
        limits=limits.server,
        transaction=limits.transaction,
        url=options.url,
        files_at=options.files,
        attach=tuple(source_of(text) for text in options.attach),
    )
    others = tuple(_beside(config, also) for also in options.also)
    check_names([config.deployment, *(other.deployment for other in others)])
    config = replace(config, others=others)
    os.environ.pop("NBREACTIVE_ADMIN_KEY", None)
    return run_backend(_serve(config, options.idle_exit))


def _beside(config: BackendConfig, also: str) -> BackendConfig:
    """Configure another deployment, ``NAME`` or ``NAME=MODE``."""
    name, _, mode = also.partition("=")
    check_name(name)
    if mode not in ("", "dev", "prod"):
        raise InvalidValue(f"--also {also[:80]!a}: the mode of a deployment is dev or prod, as in --also {name}=prod")
    return replace(
        config,
        deployment=name,
        mode="prod" if mode == "prod" else "dev",
        data=config.data.with_name(f"{config.data.name}-{name}"),
        functions=config.functions and config.functions.with_name(f"{config.functions.name}-{name}"),
        url=f"{config.url.rstrip('/')}/{name}" if config.url else None,
        files_at=f"{config.files_at.rstrip('/')}-{name}" if config.files_at else None,
    )


async def _serve(config: BackendConfig, idle_exit: float | None) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    _stop_on_signals(loop, stop)
    if os.environ.get("NBREACTIVE_EXIT_WITH_STDIN") == "1":
        threading.Thread(target=_wait_for_end_of_input, args=(loop, stop), name="nbreactive-stdin", daemon=True).start()
    backend = await _open(config, stop)
    if backend is None:
        return 0
    lost: list[bool] = []

    def end() -> None:
        lost.append(True)
        stop.set()

    backend.on_lost = end
    try:
        print(f"ready {backend.url}", flush=True)
        if idle_exit is None:
            await stop.wait()
        else:
            await _wait_until_idle(backend, idle_exit, stop)
    finally:
        await backend.close()
    return 1 if lost else 0


async def _open(config: BackendConfig, stop: asyncio.Event) -> Backend | None:
    """Open the backend; None if it is told to stop before it is ready."""
    opening, stopping = asyncio.ensure_future(Backend.open(config)), asyncio.ensure_future(stop.wait())
    await asyncio.wait((opening, stopping), return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if not opening.done():
        opening.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            return await opening
        return None
    return await opening


async def _wait_until_idle(backend: Backend, seconds: float, stop: asyncio.Event) -> None:
    while not stop.is_set() and backend.idle_seconds() < seconds:
        try:
            async with asyncio.timeout(max(0.05, seconds - backend.idle_seconds())):
                await stop.wait()
        except TimeoutError:
            continue


def _stop_on_signals(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    if sys.platform == "win32":
        for name in (signal.SIGINT, signal.SIGBREAK):
            signal.signal(name, lambda *_: loop.call_soon_threadsafe(stop.set))
        return
    for name in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(name, stop.set)


def _wait_for_end_of_input(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    while os.read(0, 4096):
        pass
    loop.call_soon_threadsafe(stop.set)
