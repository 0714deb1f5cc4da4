"""What all doors of one server share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from nbreactive.functions.specs import RouteSpec
from nbreactive.server.calls import Calls
from nbreactive.server.identity import Gatekeeper
from nbreactive.server.limits import ServerLimits
from nbreactive.server.logs import Logs
from nbreactive.server.origins import OriginPolicy

if TYPE_CHECKING:
    from nbreactive.server.websocket import Sockets
    from nbreactive.services.files import Files


@dataclass
class Site:
    """The parts that handlers need; made once, by the backend."""

    calls: Calls
    gate: Gatekeeper
    origins: OriginPolicy
    logs: Logs
    sockets: Sockets
    deployment: str = "default"
    routes: Callable[[], Sequence[RouteSpec]] = tuple
    """Which HTTP actions answer which requests, as deployed now."""
    limits: ServerLimits = field(default_factory=ServerLimits)
    files: Callable[[], Files] | None = None
    """The stored files."""
