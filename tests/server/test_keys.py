"""Keys for programs: roles, one deployment, revoked at once; cases 7, 8, 9, 37 and 41 of the attack list."""

from __future__ import annotations

import asyncio
import json
import stat
import sys
from pathlib import Path
from typing import Any

import pytest
from tornado.httpclient import AsyncHTTPClient, HTTPRequest

from nbreactive.errors import DataFolderError, InvalidValue
from nbreactive.server.keys import FILE, Keys
from tests.server.test_sign_in import KEY as ADMIN
from tests.server.test_sign_in import House, Line, house

MODULE = {"modules": [{"name": "m", "source": "x = 1\n", "origin": {"kind": "api"}}]}


def test_keys_are_kept_as_hashes_and_found_again(tmp_path: Path) -> None:
    keys = Keys(tmp_path)
    made, secret = keys.create("ci", ["deploy"], "ada")
    assert secret.startswith("nbr_") and len(secret) == 47
    assert made.roles == ("read", "write", "deploy") and made.created_by == "ada"
    text = (tmp_path / FILE).read_text()
    assert secret not in text and secret.removeprefix("nbr_") not in text
    if sys.platform != "win32":
        assert stat.S_IMODE((tmp_path / FILE).stat().st_mode) == 0o600
    again = Keys(tmp_path)
    assert again.find(secret) == made and again.valid(made.id)
    for wrong in (secret[:-1], secret + "A", secret.removeprefix("nbr_"), "nbr_", "", made.hash, made.id):
        assert again.find(wrong) is None
    assert "hash" not in made.summary()
    assert again.revoke("ci") == made
    assert again.find(secret) is None and Keys(tmp_path).list() == []


def test_what_is_no_key(tmp_path: Path) -> None:
    keys = Keys(tmp_path)
    keys.create("ci", ["read"])
    for name, roles in (
        ("", ["read"]),
        ("a\nb", ["read"]),
        ("x" * 101, ["read"]),
        ("ci", ["read"]),
        ("a", []),
        ("a", ["root"]),
    ):
        with pytest.raises(InvalidValue):
            keys.create(name, roles)
    with pytest.raises(InvalidValue, match=r"no key 'nothing'; there are: \w{12} \(ci\)"):
        keys.revoke("nothing")
    (tmp_path / FILE).write_text("{")
    with pytest.raises(DataFolderError, match="cannot be read"):
        Keys(tmp_path)


async def ask(at: House, path: str, key: str, body: Any = None) -> tuple[int, Any]:
    headers = {"Authorization": f"Convex {key}"}
    request = HTTPRequest(
        at.url + path, "GET" if body is None else "POST", headers, None if body is None else json.dumps(body)
    )
    answer = await AsyncHTTPClient(force_instance=True).fetch(request, raise_error=False)
    return answer.code, json.loads(answer.body)


@pytest.mark.parametrize("role", ["read", "write", "deploy", "admin"])
def test_a_role_is_what_it_says(tmp_path: Path, role: str) -> None:
    async def main() -> None:
        async with house(tmp_path) as at:
            _, key = at.backend.keys.create("it", [role])
            may = ("read", "write", "deploy", "admin").index(role)
            assert await at.call("app:anyone", authorization=f"Convex {key}") == 0
            sent = await at.call("app:note", kind="mutation", authorization=f"Convex {key}")
            assert sent is None if may >= 1 else "role 'write'" in sent[1]
            code, said = await ask(at, "/api/admin/deploy", key, MODULE)
            assert code == (200 if may >= 2 else 403) and (may >= 2 or said["code"] == "Refused")
            hidden = await at.call("app:session", args={"token": "x"}, kind="function", authorization=f"Convex {key}")
            assert hidden is None if may >= 2 else "Could not find public function" in hidden[1]
            code, said = await ask(at, "/api/admin/keys", key)
            assert code == (200 if may == 3 else 403)
            acting = await ask(at, "/api/query", f"{key}:eyJzdWJqZWN0IjoiYWRhIn0", {"path": "app:me", "args": {}})
            assert acting[1].get("value") == "ada" if may == 3 else acting[0] == 403

    asyncio.run(main())


@pytest.mark.parametrize(
    "door",
    [
        "admin/logs?after=0&function=app:note&wait=30",
        "stream_udf_execution?cursor={}",
        "stream_function_logs?cursor={}",
    ],
)
def test_a_long_poll_of_the_log_ends_with_its_key(tmp_path: Path, door: str) -> None:
    async def main() -> None:
        async with house(tmp_path) as at:
            made, key = at.backend.keys.create("watcher", ["deploy"])
            newest = at.backend.site.logs.newest or 1
            polling = asyncio.create_task(ask(at, f"/api/{door.format(newest)}", key))
            while not at.backend.site.logs._followers:
                await asyncio.sleep(0.01)
            at.backend.keys.revoke(made.id)
            await at.call("app:note", kind="mutation")
            status, said = await polling
            assert status == 403 and "app:note" not in str(said)

    asyncio.run(main())


def test_a_key_that_is_revoked_ends_what_it_has_opened_case_8(tmp_path: Path) -> None:
    async def main() -> None:
        async with house(tmp_path) as at:
            made, key = at.backend.keys.create("watcher", ["write"])
            header = await Line.open(at.url, Authorization=f"Convex {key}")
            header.ask("app:anyone")
            message = await Line.open(at.url)
            message.say("Authenticate", baseVersion=0, tokenType="Admin", value=key)
            message.ask("app:anyone", "app:me")
            stranger = await Line.open(at.url)
            stranger.ask("app:anyone")
            await header.until(q0=0)
            await message.until(q0=0, q1=None)
            await stranger.until(q0=0)
            assert (await ask(at, "/api/admin/keys/revoke", "wrong", {"key": made.id}))[0] == 403
            at.backend.keys.revoke(made.id)
            for line in (header, message):
                while "watcher (revoked)" not in str(line.values[0]):
                    await line.hear()
                line.say("Mutation", requestId=0, udfPath="app:note", args=[{}])
                heard: dict[str, Any] = {}
                while heard.get("type") != "MutationResponse":
                    heard = await line.hear()
                assert heard["success"] is False
            await at.call("app:note", kind="mutation")
            await stranger.until(q0=1)
            assert "revoked" in header.values[0] and "revoked" in message.values[0]  # no further rows
            assert (await ask(at, "/api/query", key, {"path": "app:anyone", "args": {}}))[0] == 403
            # What was opened with it does not come back by signing out of something else.
            header.say("Authenticate", baseVersion=0, tokenType="Admin", value=ADMIN)
            await header.until(q0=1)
            header.say("Authenticate", baseVersion=1, tokenType="None")
            while header.values[0] == 1:
                await header.hear()
            assert "revoked" in header.values[0]
            for line in (header, message, stranger):
                line.socket.close()

    asyncio.run(main())


def test_keys_open_their_own_deployment_and_are_in_no_log_case_41(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    async def main() -> tuple[str, str]:
        async with house(tmp_path / "a") as a, house(tmp_path / "b") as b:
            code, made = await ask(
                a, "/api/admin/keys", "the admin key of these tests", {"name": "ci", "roles": ["admin"]}
            )
            assert code == 200 and made["key"].startswith("nbr_") and "hash" not in made
            assert (await ask(a, "/api/admin/keys", made["key"]))[1]["keys"][0]["name"] == "ci"
            assert "key" not in (await ask(a, "/api/admin/keys", made["key"]))[1]["keys"][0]
            for path, body in (
                ("/api/admin/deploy", MODULE),
                ("/api/admin/keys", None),
                ("/api/query", {"path": "app:me", "args": {}}),
            ):
                code, said = await ask(b, path, made["key"], body)
                assert code == 403 and "another deployment" in said["message"] and made["key"] not in said["message"]
            code, _ = await ask(a, f"/api/query?token={made['key']}", made["key"], {"path": "app:me", "args": {}})
            assert code == 403  # a token in a URL
            return made["key"], made["id"]

    key, id = asyncio.run(main())
    log = capfd.readouterr().err
    assert key not in log and key[4:] not in log
    assert '"event": "key created"' in log and id in log


@pytest.mark.parametrize(
    "path", ["app:session", "app:_private", "app:__init__", "os:system", "app:hook", "_system/tables:rows"]
)
def test_what_is_not_public_looks_absent_case_9(tmp_path: Path, path: str) -> None:
    async def main() -> None:
        async with house(tmp_path) as at:
            _, key = at.backend.keys.create("it", ["write"])
            for authorization in ("", f"Convex {key}"):
                for kind in ("query", "mutation", "action", "function"):
                    status, said = await at.call(path, kind=kind, authorization=authorization)
                    assert "Could not find public function for" in said and status in (200, 404)

    asyncio.run(main())
