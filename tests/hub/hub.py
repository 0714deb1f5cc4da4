"""A real JupyterHub for tests: as docs/jupyterhub.md sets it up, with its proxy, on free ports of this machine."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import os
import random
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Self

from tornado.httpclient import HTTPClientError, HTTPRequest
from tornado.websocket import WebSocketClientConnection, websocket_connect

from tests.conformance.packages import provide
from tests.jupyter.servers import Answer, wait_for

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "jupyterhub.md").read_text("utf-8")
PROXY = Path(__file__).with_name("proxy")
ADMIN = "token-of-the-tests"
NOTES = """
from nbreactive import mutation, query

@query
def notes(ctx):
    return [[n["by"], n["text"]] for n in ctx.db.query("notes").collect()]

@query
def me(ctx):
    return ctx.auth.get_user_identity()

@mutation
def add(ctx, text: str):
    ctx.db.insert("notes", {"by": ctx.auth.get_user_identity(), "text": text})

@mutation
def upload_url(ctx):
    return ctx.storage.generate_upload_url()

@query
def file_url(ctx, id: str):
    return ctx.storage.get_url(id)
"""
TESTS = """
c.JupyterHub.bind_url = "http://127.0.0.1:{public}"
c.JupyterHub.hub_port = {hub}
c.JupyterHub.db_url = "sqlite:///{folder}/hub.sqlite"
c.JupyterHub.cookie_secret_file = "{folder}/cookie_secret"
c.JupyterHub.cleanup_servers = True
c.ConfigurableHTTPProxy.api_url = "http://127.0.0.1:{api}"
c.ConfigurableHTTPProxy.command = {proxy}
c.ConfigurableHTTPProxy.pid_file = "{folder}/proxy.pid"
c.JupyterHub.authenticator_class = "dummy"
c.Authenticator.allowed_users = {people}
c.JupyterHub.spawner_class = "simple"
c.SimpleLocalProcessSpawner.home_dir_template = "{folder}/home/{{username}}"
c.Spawner.http_timeout = c.Spawner.start_timeout = 120
c.Spawner.args = ["--allow-root", "--HubOAuth.cache_max_age=1", "--ServerApp.allow_unauthenticated_access=False"]
c.Spawner.environment.update({{"JUPYTERHUB_SINGLEUSER_APP": "jupyter_server.serverapp.ServerApp", "NO_COLOR": "1"}})
c.Spawner.environment.update({{"JUPYTERHUB_ACTIVITY_INTERVAL": "1", "JUPYTER_PLATFORM_DIRS": "1"}})
c.JupyterHub.services.append({{"name": "tests", "api_token": {admin!r}}})
c.JupyterHub.custom_scopes["custom:nbreactive:read:staging"] = {{"description": "reads one deployment"}}
c.JupyterHub.load_groups = {groups}
c.JupyterHub.load_roles += [
    {{"name": "tests", "services": ["tests"], "scopes": [*scopes, "custom:nbreactive:read:staging", access,
      "admin:users", "admin:servers", "tokens", "groups", "access:servers", "read:users:activity"]}},
    {{"name": "staging-readers", "groups": ["readers"], "scopes": [access, "custom:nbreactive:read:staging!service=nbreactive"]}},
    {{"name": "doorstep", "groups": ["doorstep"], "scopes": [access]}},
]
"""


def blocks() -> list[str]:
    """The blocks of configuration in the page."""
    return [block for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL) if "c.JupyterHub" in block]


def lasting_ports(number: int) -> list[int]:
    """Ports that are free, and none that the system gives to whoever connects somewhere in the meantime."""
    found: list[int] = []
    while len(found) < number:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            found.append(port)
    return found


class HubProcess:
    """The Hub, which starts its proxy and the service.

    Parameters
    ----------
    folder
        Everything of it is below.
    groups
        Who is in which group; all of them may sign in.
    """

    def __init__(self, folder: Path, groups: dict[str, list[str]]) -> None:
        provide(PROXY)
        self.folder = folder
        self.port, hub, api, service = lasting_ports(4)
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = folder / "hub.log"
        functions = folder / "srv" / "reactive"
        for path in (functions, folder / "srv" / "reactive-staging"):
            path.mkdir(parents=True)
            (path / "notes.py").write_text(NOTES)
        page = "".join(blocks()).replace("https://hub.example.org", self.url).replace("10101", str(service))
        page = page.replace("/srv/nbreactive", str(folder / "srv"))
        page = page.replace('"--hub"]', '"--hub", "--hub-seconds", "2", "--also", "staging"]')
        assert page.count(str(folder)) == 2 and "--also" in page
        people = {name for members in groups.values() for name in members}
        for name in people:
            (folder / "home" / name).mkdir(parents=True)
        node = shutil.which("node")
        script = PROXY / "node_modules" / "configurable-http-proxy" / "bin" / "configurable-http-proxy"
        tests = TESTS.format(
            public=self.port,
            hub=hub,
            api=api,
            folder=folder,
            proxy=[node, str(script)],
            people=people,
            admin=ADMIN,
            groups={name: {"users": members} for name, members in groups.items()},
        )
        config = folder / "jupyterhub_config.py"
        config.write_text(f"c = get_config()\n{page}\n{tests}")
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith(("JUPYTER", "JPY_", "IPYTHON"))
        }
        environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
        environment |= {"PYTHONPATH": str(ROOT), "HOME": str(folder), "CONFIGPROXY_AUTH_TOKEN": "of-the-proxy"}
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "jupyterhub", "-f", str(config)],
                env=environment,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def __enter__(self) -> Self:
        try:
            wait_for(self._answers, 90, "the Hub and its service answer")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)  # it ends servers, service and proxy
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        proxy = self.folder / "proxy.pid"
        if proxy.exists():  # the Hub did not get so far as to end it
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(proxy.read_text()), signal.SIGTERM)

    def _answers(self) -> bool:
        if self.process.poll() is not None:
            raise RuntimeError(f"the Hub ended:\n{self.log.read_text()[-4000:]}")
        try:
            return self.request("GET", "/services/nbreactive/api/health", token=ADMIN).status == 200
        except OSError:
            return False

    # ---- asking -------------------------------------------------------------------------------------------------

    def request(self, method: str, path: str, body: Any = None, *, token: str | None = None, **headers: str) -> Answer:
        """One request at the public address; no redirect is followed."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        try:
            sent = {"Content-Type": "application/json"} if body is not None else {}
            sent |= {name.replace("_", "-"): value for name, value in headers.items()}
            if token:
                sent["Authorization"] = f"token {token}"
            content = body if body is None or isinstance(body, bytes) else json.dumps(body)
            connection.request(method, path, content, sent)
            response = connection.getresponse()
            return Answer(response.status, response.headers, response.read())
        finally:
            connection.close()

    def api(self, method: str, path: str, body: Any = None, token: str = ADMIN) -> Any:
        """Ask the Hub itself."""
        answer = self.request(method, f"/hub/api/{path}", body, token=token)
        assert answer.status < 300, (path, answer.status, answer.body)
        return answer.json() if answer.body else None

    def handshake(self, path: str, *, token: str | None = None, **headers: str) -> tuple[int, bytes]:
        """Status and body of a WebSocket's handshake."""

        async def main() -> tuple[int, bytes]:
            sent = {name.replace("_", "-"): value for name, value in headers.items()}
            if token:
                sent["Authorization"] = f"token {token}"
            try:
                connection = await websocket_connect(HTTPRequest(f"ws{self.url[4:]}{path}", headers=sent))
            except HTTPClientError as error:
                return error.code, error.response.body if error.response is not None else b""
            await close(connection)
            return 101, b""

        return asyncio.run(main())

    # ---- people -------------------------------------------------------------------------------------------------

    def token(self, name: str, *scopes: str) -> str:
        """A token of somebody, with those of their scopes."""
        return self.api("POST", f"users/{name}/tokens", {"scopes": list(scopes)} if scopes else {})["token"]

    def start_servers(self, *names: str) -> None:
        """Start the servers of some users; return when they are ready."""
        with ThreadPoolExecutor() as pool:
            list(pool.map(lambda name: self.api("POST", f"users/{name}/server"), names))
        for name in names:
            wait_for(
                lambda name=name: self.api("GET", f"users/{name}")["servers"][""]["ready"], 120, f"{name}'s server"
            )

    def call(self, mount: str, kind: str, path: str, token: str | None, **args: Any) -> Answer:
        """Call a function."""
        return self.request("POST", f"{mount}/api/{kind}", {"path": path, "args": args}, token=token)


class Kernel:
    """A kernel in a user's server, used as a page uses it, by somebody's token.

    Attributes
    ----------
    widgets
        The states of its widgets, as far as they have been heard.
    """

    def __init__(self, hub: HubProcess, owner: str, token: str) -> None:
        self._base = f"/user/{owner}/api/kernels"
        self._hub, self._token = hub, token
        self.widgets: dict[str, dict[str, Any]] = {}
        answer = hub.request("POST", self._base, {}, token=token)
        assert answer.status == 201, answer.body
        self.id = answer.json()["id"]

    def run(self, code: str) -> str:
        """Run a cell, and return what it printed."""
        return asyncio.run(asyncio.wait_for(self._run(code), 120))

    async def _run(self, code: str) -> str:
        url = f"ws{self._hub.url[4:]}{self._base}/{self.id}/channels?session_id=page"  # what it says in between is kept for us
        connection = await websocket_connect(HTTPRequest(url, headers={"Authorization": f"token {self._token}"}))
        header = {"msg_id": os.urandom(8).hex(), "msg_type": "execute_request", "username": "", "session": "s"}
        header |= {"date": "2026-01-01T00:00:00Z", "version": "5.3"}
        content = {"code": code, "silent": False, "store_history": False, "allow_stdin": False}
        message = {"header": header, "parent_header": {}, "metadata": {}, "content": content, "channel": "shell"}
        try:
            await connection.write_message(json.dumps(message))
            return await self._said(connection, header["msg_id"])
        finally:
            await close(connection)

    async def _said(self, connection: WebSocketClientConnection, to: str) -> str:
        said: list[str] = []
        while True:
            frame = await connection.read_message()
            assert frame is not None, "the kernel's connection was closed"
            got = message_in(frame)
            self._hear_widget(got["msg_type"], got["content"])
            if got["parent_header"].get("msg_id") != to:
                continue
            if got["msg_type"] == "stream":
                said.append(got["content"]["text"])
            elif got["msg_type"] in ("display_data", "execute_result"):
                said.append(got["content"]["data"].get("text/plain", "") + "\n")
            elif got["msg_type"] == "error":
                raise AssertionError("\n".join([*said, *got["content"]["traceback"]]))
            elif got["msg_type"] == "status" and got["content"]["execution_state"] == "idle":
                return "".join(said)

    def _hear_widget(self, kind: str, content: dict[str, Any]) -> None:
        if kind in ("comm_open", "comm_msg"):
            self.widgets.setdefault(content["comm_id"], {}).update(content["data"].get("state", {}))


def message_in(frame: str | bytes) -> dict[str, Any]:
    """The message of a frame; before buffers it says where each part begins."""
    if isinstance(frame, bytes):
        begin, end = struct.unpack_from(">II", frame, 4)
        return json.loads(frame[begin:end])
    return json.loads(frame)


async def close(connection: WebSocketClientConnection) -> None:
    """Close it, and wait until that is done."""
    connection.close()
    while await connection.read_message() is not None:
        pass
