"""Real Jupyter servers for tests: a process, folders of its own, a free port."""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Self

PEOPLE = {"alice-token": "Alice", "bob-token": "Bob"}
SERVER_TOKEN = "token-of-the-server"


def wait_for(condition: Callable[[], Any], seconds: float = 30, what: str = "") -> Any:
    """Ask ``condition`` until its answer is true, and return that."""
    deadline = time.monotonic() + seconds
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {seconds} s: {what or condition}")
        time.sleep(0.05)


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class JupyterProcess:
    """``python -m <module>`` with the extension enabled.

    Parameters
    ----------
    folder
        Everything of this server is below it: ``root`` is what it serves.
    config
        Lines of Python for its configuration file.
    base
        Its base url.
    """

    def __init__(
        self,
        folder: Path,
        config: str = "",
        module: str = "jupyter_server",
        people: bool = True,
        base: str = "/base/",
    ) -> None:
        self.folder = folder
        self.root = folder / "root"
        self.root.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self.base = base
        self.url = f"http://127.0.0.1:{self.port}{base.rstrip('/')}"
        self.log = folder / "log.txt"
        lines = [
            "c = get_config()",
            'c.ServerApp.ip = "127.0.0.1"',
            f"c.ServerApp.port = {self.port}",
            "c.ServerApp.port_retries = 0",
            f"c.ServerApp.base_url = {base!r}",
            f"c.ServerApp.root_dir = {str(self.root)!r}",
            "c.ServerApp.open_browser = False",
            "c.ServerApp.allow_root = True",
            "c.ServerApp.allow_unauthenticated_access = False",
            f"c.IdentityProvider.token = {SERVER_TOKEN!r}",
            'c.ServerApp.jpserver_extensions = {"nbreactive": True}',
            'c.LabApp.check_for_updates_class = "jupyterlab.NeverCheckForUpdate"',
            # What other extensions of the environment do is not tested here.
            'c.ServerApp.jpserver_extensions["jupyter_server_ydoc"] = False',
        ]
        if people:
            lines += [
                'c.ServerApp.identity_provider_class = "nbreactive.jupyter.named_tokens.NamedTokens"',
                f"c.NamedTokens.people = {PEOPLE!r}",
            ]
        (folder / "config.py").write_text("\n".join([*lines, config, ""]))
        homes = ["HOME", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR"]
        homes += ["JUPYTERLAB_WORKSPACES_DIR", "JUPYTERLAB_SETTINGS_DIR"]
        self.environment = {**os.environ, **{name: str(folder / "home" / name.lower()) for name in homes}}
        for name in homes:
            Path(self.environment[name]).mkdir(parents=True, exist_ok=True)
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", module, "--config", str(folder / "config.py"), "--debug"],
                env=self.environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.root,
            )

    def wait(self) -> Self:
        """Return when it answers."""

        def answers() -> bool:
            if self.process.poll() is not None:
                raise RuntimeError(f"the Jupyter server ended:\n{self.log.read_text()[-3000:]}")
            try:
                return self.request("GET", "api", token=None).status == 200
            except OSError:
                return False

        try:
            wait_for(answers, 60, "the Jupyter server answers")
        except BaseException:
            self.stop()
            raise
        return self

    def request(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        *,
        token: str | None = SERVER_TOKEN,
        headers: Mapping[str, str] | Iterable[tuple[str, str]] = (),
    ) -> Answer:
        """One plain request below the base url."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            sent = {"Authorization": f"token {token}"} if token else {}
            connection.request(method, f"{self.base}{path}", body, sent | dict(headers))
            response = connection.getresponse()
            return Answer(response.status, response.headers, response.read())
        finally:
            connection.close()

    def cookies(self, token: str) -> dict[str, str]:
        """Sign in as a browser does; the cookies, and the XSRF token among them."""
        found: dict[str, str] = {}
        for path in ("login", f"login?token={token}"):
            sent = "; ".join(f"{name}={value}" for name, value in found.items())
            answer = self.request("GET", path, token=None, headers={"Cookie": sent} if sent else {})
            for line in answer.headers.get_all("Set-Cookie") or []:
                name, _, rest = line.partition("=")
                found[name] = rest.partition(";")[0]
        return {name: value for name, value in found.items() if value}

    def stop(self, seconds: float = 30) -> None:
        """End it as Ctrl-C does."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(seconds)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def __enter__(self) -> Self:
        return self.wait()

    def __exit__(self, *_: object) -> None:
        self.stop()


class Answer:
    """What came back."""

    def __init__(self, status: int, headers: Any, body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body

    def json(self) -> Any:
        """The body, decoded."""
        return json.loads(self.body)
