"""Which server: an address that was given, the environment's, this kernel's own Jupyter server, or one of our own.

Nothing is guessed: a Jupyter server starts its kernels with its process id in ``JPY_PARENT_PID`` and leaves a file with
its address and token under that number, readable by its user only.
"""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any, cast
from urllib.parse import parse_qs, quote, urlsplit, urlunsplit

from nbreactive.client import on_hub, standalone
from nbreactive.client.target import Target
from nbreactive.errors import NBReactiveError, NotConnected, Refused

_PAGES = ("lab", "tree", "doc", "notebooks", "voila", "nbclassic")
_OWN = "own"
PROBE = 10.0
_JUPYTER_HEALTH, _BACKEND_HEALTH = "/api/health", "/api/admin/status"


async def find(
    url: str | None = None,
    token: str | None = None,
    admin_key: str | None = None,
    deployment: str | None = None,
    bearer: str = "",
) -> Target:
    """Return the deployment to use.

    Parameters
    ----------
    url
        A Jupyter server's address (also as copied from a browser, with its ``?token=``) or a backend's; ``own`` is the
        Jupyter server that started this kernel, whatever the environment says.
    token
        Token of the Jupyter server.
    admin_key
        Admin key of a backend.
    deployment
        Its name, where a server has several; default: ``NBREACTIVE_DEPLOYMENT``, else the server's first.
    bearer
        The token of who has signed in with a provider of the deployment.
    """
    if url == _OWN:
        server = await own_jupyter_server(deployment)
        if server is None:
            raise NotConnected("This kernel was not started by a Jupyter server that has nbreactive.")
        return server
    if url is not None:
        return await at(url, token, admin_key, deployment, bearer)
    deployment = deployment or os.environ.get("NBREACTIVE_DEPLOYMENT")
    if os.environ.get("NBREACTIVE_URL"):
        return await at(
            os.environ["NBREACTIVE_URL"],
            token or os.environ.get("NBREACTIVE_TOKEN"),
            admin_key or os.environ.get("NBREACTIVE_ADMIN_KEY"),
            deployment,
            bearer,
        )
    own = await own_jupyter_server(deployment)
    return own if own is not None else await standalone.start_or_reuse(deployment=deployment)


async def at(
    url: str,
    token: str | None = None,
    admin_key: str | None = None,
    deployment: str | None = None,
    bearer: str = "",
) -> Target:
    """Return the deployment behind an address that somebody gave."""
    base, found = clean_url(url)
    root, named = _mount_of(base)
    deployment = deployment or named
    hub = None if token or found or admin_key else on_hub.hub_token(base)
    token = token or found or hub
    answers: list[NBReactiveError] = []
    if not admin_key:
        try:
            label = f"the Hub's service at {base}" if hub else f"the server at {root}"
            server = await _jupyter(root, token, label=label, bearer=bearer)
        except Refused:
            if hub:
                raise Refused(on_hub.refusal(base)) from None
            raise Refused(
                f"{root} refuses this token. Take the address with ?token=... from its 'Share' link or from "
                "`jupyter server list`, or pass token=..."
            ) from None
        except NBReactiveError as failure:
            answers.append(failure)
        else:
            return await server.named(deployment, _JUPYTER_HEALTH, PROBE)
    try:
        backend = await _backend(base, admin_key or token, bearer)
    except Refused:
        raise
    except NBReactiveError as failure:
        answers.append(failure)
    else:
        return await backend.named(deployment, _BACKEND_HEALTH, PROBE)
    raise NotConnected(
        f"There is neither a Jupyter server with nbreactive nor a backend at {base}. {answers[-1]}. "
        "Is the address right, and is the server running?"
    )


async def beside(target: Target, deployment: str) -> Target:
    """Return another deployment at the same place as ``target``."""
    mine = quote(target.health.get("deployment", "default"), safe="")
    above = "/nbreactive" if target.kind == "jupyter" else ""
    root = (
        replace(target, base=target.base.removesuffix(f"/{mine}"))
        if target.base.endswith(f"{above}/{mine}")
        else target
    )
    health = _JUPYTER_HEALTH if target.kind == "jupyter" else _BACKEND_HEALTH
    root.health = await root.fetch_json("GET", health, within=PROBE)
    return await root.named(deployment, health, PROBE)


def clean_url(url: str) -> tuple[str, str | None]:
    """Split an address, as people paste it, into the server's base and the token inside.

    Examples
    --------
    >>> clean_url("http://host:8888/user/al/lab/tree/a.ipynb?token=abc")
    ('http://host:8888/user/al', 'abc')
    """
    parts = urlsplit(url if "://" in url else f"http://{url}")
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise NotConnected(f"{url!r} is not an address: write it like http://host:8888/?token=...")
    token = (parse_qs(parts.query).get("token") or [None])[0]
    steps = [step for step in parts.path.split("/") if step]
    for at_step, step in enumerate(steps):
        if step in _PAGES:
            steps = steps[:at_step]
            break
    path = "/" + "/".join(steps) if steps else ""
    return urlunsplit((parts.scheme, parts.netloc, path, "", "")), token


def _mount_of(base: str) -> tuple[str, str | None]:
    """Take the extension's own address apart: ``http://host/user/al/nbreactive/staging``."""
    path = urlsplit(base).path
    _, mount, name = path.rpartition("/nbreactive")
    if not mount or (name and not name.startswith("/")):
        return base, None
    return base[: len(base) - len(mount + name)], name.strip("/") or None


async def own_jupyter_server(deployment: str | None = None) -> Target | None:
    """Return the deployment of the Jupyter server that started this kernel; None without one (or without nbreactive)."""
    info = _own_server_info()
    if info is None:
        return None
    root = str(info["url"]).rstrip("/")
    try:
        own = await _jupyter(
            root, str(info.get("token") or ""), label="your server", folder=str(info.get("root_dir", ""))
        )
    except Refused:
        raise
    except NBReactiveError:
        return None  # a Jupyter server without the extension
    return await own.named(deployment, _JUPYTER_HEALTH, PROBE)


def _own_server_info() -> dict[str, Any] | None:
    parent = os.environ.get("JPY_PARENT_PID", "")
    if not parent.isdigit():
        return None
    from jupyter_core.paths import jupyter_runtime_dir

    try:
        info: Any = json.loads((Path(jupyter_runtime_dir()) / f"jpserver-{parent}.json").read_text())
    except (OSError, ValueError):
        return None
    found = cast("dict[str, Any]", info) if isinstance(info, dict) else {}
    return found if found.get("url") and not found.get("sock") else None


async def _jupyter(root: str, token: str | None, *, label: str, folder: str = "", bearer: str = "") -> Target:
    headers = {"X-NBReactive-Via": "kernel", "Convex-Client": f"nbreactive-{_version()}"}
    if token:
        headers["Authorization"] = f"token {token}"
    target = Target(
        f"{root}/nbreactive", "jupyter", headers, label, str(Path(folder) / ".nbreactive") if folder else ""
    )
    target.bearer = "" if token else bearer  # it may be a backend, which says nothing to strangers
    target.health = await target.fetch_json("GET", _JUPYTER_HEALTH, within=PROBE)
    target.bearer = ""
    if not target.health.get("ok"):
        raise NotConnected(f"{root} has no nbreactive that is well: {target.health!r:.200}")
    return target


async def _backend(base: str, admin_key: str | None, bearer: str = "") -> Target:
    headers = {"Convex-Client": f"nbreactive-{_version()}"}
    if admin_key:
        headers["Authorization"] = f"Convex {admin_key}"
    target = Target(base, "backend", headers, f"the backend at {base}", bearer=bearer)
    target.health = await target.fetch_json("GET", _BACKEND_HEALTH, within=PROBE)
    return target


def _version() -> str:
    from nbreactive._version import __version__

    return __version__
