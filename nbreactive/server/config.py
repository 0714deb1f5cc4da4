"""How a deployment is served."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from nbreactive.engine.files import Disk, FileSystem
from nbreactive.server.failures import Mode
from nbreactive.server.limits import ServerLimits
from nbreactive.server.parts import PartsConfig
from nbreactive.services.retention import KEEP_SECONDS
from nbreactive.values.limits import ACTION_SECONDS, TransactionLimits


@dataclass(frozen=True)
class BackendConfig:
    """How to serve a deployment."""

    data: Path
    functions: Path | None = None
    host: str = "127.0.0.1"
    port: int = 3210
    http_port: int | None = None
    """A port for HTTP actions alone, where they stand at ``/`` rather than at ``/http``; 0 takes a free one."""
    admin_key: str | None = None
    proxy_secret: str | None = None
    require_auth: bool = False
    trusted_issuers: tuple[str, ...] = ()
    """Hosts of sign-in providers that may be asked over http and at private addresses."""
    allowed_origins: tuple[str, ...] = ()
    deployment: str = "default"
    workers: int = 2
    action_seconds: float = ACTION_SECONDS
    mode: Mode = "dev"
    verbose: bool = False
    limits: ServerLimits = field(default_factory=ServerLimits)
    transaction: TransactionLimits = field(default_factory=TransactionLimits)
    url: str | None = None
    """Where others reach it, if not where it listens."""
    keep_history: float = KEEP_SECONDS
    """For how long older versions of documents are kept, seconds."""
    jobs: bool = True
    """Whether scheduled functions and cron jobs begin when they are due."""
    others: tuple[BackendConfig, ...] = ()
    """Further deployments, answered behind the same door."""
    files: FileSystem = field(default_factory=Disk)
    """What the log is written to."""
    attach: tuple[tuple[str, str], ...] = ()
    """Names and places of sources outside that SQL may read."""
    files_at: str | None = None
    """Where stored files are kept, as fsspec names it (``s3://bucket/files``); None: in the data folder."""


def parts_config(config: BackendConfig) -> PartsConfig:
    """Say what the parts below the doors need to know."""
    return PartsConfig(
        config.data,
        config.workers,
        config.mode,
        files=config.files,
        action_seconds=config.action_seconds,
        limits=config.transaction,
        deployment=config.deployment,
        keep_history=config.keep_history,
        files_at=config.files_at,
        attach=config.attach,
        file_bytes=config.limits.file_bytes,
    )
