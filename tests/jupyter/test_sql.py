"""SQL behind a Jupyter server: who may execute here registers statements, who may only read names them."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa

from tests.jupyter.servers import JupyterProcess, wait_for

SOURCE = """
from nbreactive import mutation

@mutation
def sell(ctx, city: str):
    ctx.db.insert("orders", {"city": city})
"""
PEOPLE = """
from jupyter_server.auth import Authorizer
class OnlyAliceWrites(Authorizer):
    def is_authorized(self, handler, user, action, resource):
        if resource.startswith("nbreactive"):
            if user.username == "bob":
                return action == "read"
            if user.username == "carol":
                return False
        return True
c.ServerApp.authorizer_class = OnlyAliceWrites
c.NamedTokens.people = {"alice-token": "Alice", "bob-token": "Bob", "carol-token": "Carol"}
"""


def test_roles_are_those_of_the_authorizer(tmp_path: Path) -> None:
    (tmp_path / "root" / "reactive").mkdir(parents=True)
    (tmp_path / "root" / "reactive" / "shop.py").write_text(SOURCE)
    with JupyterProcess(tmp_path, PEOPLE) as server:

        def ask(who: str, path: str, body: Any) -> tuple[int, bytes]:
            answer = server.request(
                "POST",
                f"nbreactive/api/{path}",
                json.dumps(body).encode(),
                token=f"{who}-token",
                headers={"Content-Type": "application/json"},
            )
            return answer.status, answer.body

        def call(who: str, kind: str, path: str, **args: Any) -> Any:
            return json.loads(ask(who, kind, {"path": path, "args": args, "format": "json"})[1])

        wait_for(lambda: call("alice", "mutation", "shop:sell", city="Bern").get("status") == "success")
        text = {"sql": "SELECT city, count(*) AS n FROM orders GROUP BY city"}
        assert ask("bob", "sql/register", text)[0] == 403
        assert ask("bob", "sql/arrow", text)[0] == 403
        assert call("bob", "mutation", "_system/sql:register", **text)["status"] == "error"
        status, body = ask("alice", "sql/register", text)
        assert status == 200
        known = json.loads(body)
        assert call("bob", "query", "_system/sql:live", **known)["value"]["rows"] == [["Bern", 1]]
        status, body = ask("bob", "sql/arrow", known)
        assert status == 200
        assert pa.ipc.open_stream(io.BytesIO(body)).read_all().to_pylist() == [{"city": "Bern", "n": 1}]
        assert ask("bob", "sql/arrow", {"hash": "0" * 32})[0] == 404
        assert ask("bob", "sql/arrow", known | {"params": {"no": 1}})[0] == 400
        for path, body in (("sql/arrow", known), ("sql/register", text), ("query", {})):
            assert ask("carol", path, body)[0] == 403
            assert server.request("POST", f"nbreactive/api/{path}", b"{}", token=None).status == 403
