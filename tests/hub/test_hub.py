"""nbreactive on a real JupyterHub, with the configuration of docs/jupyterhub.md."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from nbreactive.client import discovery
from nbreactive.errors import NotConnected
from tests.conformance.packages import needs_node
from tests.hub.browser import Browser
from tests.hub.hub import ADMIN, NOTES, HubProcess, Kernel, blocks
from tests.hub.live import Live
from tests.jupyter.servers import wait_for

pytestmark = [
    pytest.mark.slow,
    needs_node,
    pytest.mark.skipif(sys.platform == "win32", reason="JupyterHub does not run on Windows"),
]
SERVICE = "/services/nbreactive"
ACCESS = "access:services!service=nbreactive"
GROUPS = {
    "team": ["alice", "bob", "eve"],
    "readers": ["rita"],
    "doorstep": ["dora"],
    "nobody": ["carol"],
}
START = "%load_ext nbreactive\nfrom nbreactive import api\n"
WAIT = """
import time
deadline = time.monotonic() + 60
while [text for _, text in notes.value] != {wanted!r}:
    assert time.monotonic() < deadline, notes.value
    time.sleep(0.02)
print(notes.value[-1][0])
"""


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubProcess]:
    folder = tmp_path_factory.mktemp("hub")
    with HubProcess(folder, GROUPS) as running:
        functions = folder / "home" / "alice" / "reactive"
        functions.mkdir(parents=True)
        (functions / "notes.py").write_text(NOTES)
        running.start_servers("alice", "bob")
        yield running


@pytest.fixture(scope="module")
def kernels(hub: HubProcess) -> dict[str, Kernel]:
    return {name: Kernel(hub, name, hub.token(name, f"access:servers!server={name}/")) for name in ("alice", "bob")}


def test_the_page_sets_it_up_in_ten_lines() -> None:
    assert len(blocks()[0].splitlines()) <= 10


def test_two_users_share_the_service_from_their_own_servers(hub: HubProcess, kernels: dict[str, Kernel]) -> None:
    alice, bob = kernels["alice"], kernels["bob"]
    for kernel in (alice, bob):
        said = kernel.run(f"{START}notes = api.notes.notes.live()\nprint(notes.value)")
        assert f"deployment default on the Hub's service at {hub.url}{SERVICE}" in said
        assert said.endswith("[]\n"), said
    alice.run("api.notes.add(text='one')")
    bob.run("api.notes.add(text='two')")
    for kernel in (alice, bob):
        assert "'subject': 'bob'" in kernel.run(WAIT.format(wanted=["one", "two"]))
    stored = hub.call(SERVICE, "query", "notes:notes", hub.token("alice", ACCESS, "custom:nbreactive:read")).json()
    who = [by for by, _ in stored["value"]]
    common = {"issuer": "jupyterhub", "groups": ["team"], "via": "kernel"}
    assert who == [
        {"subject": name, "name": name, "tokenIdentifier": f"jupyterhub|{name}", **common} for name in ("alice", "bob")
    ]
    # A live table in her notebook follows what he does in his, through her kernel.
    assert "notes.notes · live" in alice.run("notes")
    bob.run("api.notes.add(text='three')")
    alice.run(WAIT.format(wanted=["one", "two", "three"]))
    wait_for(lambda: alice.run("") == "" and "three" in json.dumps(alice.widgets), what="the table has three rows")
    # They hold the role `write`, and no more: functions come from the folder.
    refused = bob.run(
        "try:\n    get_ipython().run_cell_magic('reactive', 'deploy notes', 'from nbreactive import query')\n"
        "except Exception as error:\n    print(type(error).__name__, error)"
    )
    assert refused.startswith("Refused"), refused
    assert "deploy" in refused


def test_a_token_without_the_role_does_not_have_it(hub: HubProcess) -> None:
    reader = hub.token("alice", ACCESS, "custom:nbreactive:read")
    assert hub.call(SERVICE, "query", "notes:me", reader).json()["value"]["subject"] == "alice"
    answer = hub.call(SERVICE, "mutation", "notes:add", reader, text="no")
    assert answer.json()["status"] == "error" and "the role 'write'" in answer.json()["errorMessage"]
    writer = hub.token("alice", ACCESS, "custom:nbreactive:write")
    assert hub.call(SERVICE, "mutation", "notes:add", writer, text="").json()["status"] == "success"
    assert hub.request("GET", f"{SERVICE}/api/admin/environment", token=writer).status == 403


def test_a_service_of_the_hub_is_nobody_of_its_name(hub: HubProcess) -> None:
    assert hub.call(SERVICE, "query", "notes:me", ADMIN).json()["value"]["subject"] == "services/tests"


def test_a_name_that_a_client_sends_is_not_believed(hub: HubProcess) -> None:
    token = hub.token("alice", ACCESS, "custom:nbreactive:write")
    vouched = {"X_NBReactive_Identity": "eyJzdWJqZWN0IjogImJvYiJ9", "X_NBReactive_Proxy": "x"}
    body = {"path": "notes:me", "args": {}}
    said = hub.request("POST", f"{SERVICE}/api/query", body, token=token, **vouched).json()["value"]
    assert said["subject"] == "alice" and "via" not in said


@pytest.mark.parametrize("who", ["nobody", "a wrong token", "carol", "dora", "rita"])
def test_a_refused_user_hears_the_same_of_all_case_6(hub: HubProcess, who: str) -> None:
    """Absent or forbidden, HTTP or WebSocket; carol has no access, dora no role, rita one at staging only."""
    token = {"nobody": None, "a wrong token": "nonsense"}.get(who) or (
        hub.token(who) if who in "carol dora rita" else None
    )
    there = ["api/query", "api/admin/functions", "api/storage/x", "version", "http/x"]
    mounts = ["", "nbreactive/", "default/", "nothing/", "nothing%2Fmore/"] + ([] if who == "rita" else ["staging/"])
    answers = set()
    for mount in mounts:
        for path in [*there, "api/nothing", "api/health"]:
            if who == "rita" and mount in ("", "nbreactive/") and path == "api/health":
                continue  # hers says that she has staging
            answer = hub.request("GET", f"{SERVICE}/{mount}{path}", token=token)
            answers.add((answer.status, answer.body, answer.headers["Content-Type"]))
        answer = hub.call(f"{SERVICE}/{mount}".rstrip("/"), "query", "notes:me", token)
        answers.add((answer.status, answer.body, answer.headers["Content-Type"]))
    if who != "rita":
        for path in ("", "nothing", "oauth", "a/b/c"):
            answer = hub.request("GET", f"{SERVICE}/{path}", token=token)
            answers.add((answer.status, answer.body, answer.headers["Content-Type"]))
    assert len(answers) == 1, answers
    [(status, body, _)] = answers
    assert status == 403 and json.loads(body)["code"] == "Refused" and b"staging" not in body
    live = {hub.handshake(f"{SERVICE}/{mount}api/sync", token=token) for mount in mounts}
    live |= {hub.handshake(f"{SERVICE}/{mount}api/1.48.0/sync", token=token) for mount in mounts}
    assert live == {(403, body)}


def test_a_scope_may_be_for_one_deployment(hub: HubProcess) -> None:
    token = hub.token("rita")
    health = hub.request("GET", f"{SERVICE}/api/health", token=token).json()
    assert (health["deployment"], health["deployments"]) == ("", ["staging"])
    assert hub.call(f"{SERVICE}/staging", "query", "notes:me", token).json()["value"]["subject"] == "rita"
    refused = hub.call(f"{SERVICE}/staging", "mutation", "notes:add", token, text="no").json()
    assert refused["status"] == "error" and "the role 'write'" in refused["errorMessage"]
    assert hub.handshake(f"{SERVICE}/staging/api/sync", token=token) == (101, b"")
    target = asyncio.run(discovery.find(f"{hub.url}{SERVICE}", token, deployment="staging"))
    assert (target.base, target.kind) == (f"{hub.url}{SERVICE}/staging", "jupyter")
    for other in ("default", "nothing"):
        with pytest.raises(NotConnected, match=f"has no deployment '{other}'; it has: staging"):
            asyncio.run(discovery.find(f"{hub.url}{SERVICE}", token, deployment=other))


def test_files_pass_through_the_service(hub: HubProcess) -> None:
    token = hub.token("alice", ACCESS, "custom:nbreactive:write")
    signed = hub.call(SERVICE, "mutation", "notes:upload_url", token).json()["value"].partition("?token=")[2]
    upload = f"{SERVICE}/api/storage/upload?upload_token={signed}"
    assert hub.request("POST", upload, b"<script>", token=hub.token("dora")).status == 403
    assert hub.request("POST", f"{SERVICE}/api/storage/upload?token={signed}", b"<script>").status == 403
    content = b"<script>" * 100_000
    stored = hub.request("POST", upload, content, token=token, Content_Type="text/html").json()["storageId"]
    address = hub.call(SERVICE, "query", "notes:file_url", token, id=stored).json()["value"]
    there = f"{SERVICE}/api/storage/{address.rpartition('/')[2]}"
    found = hub.request("GET", there, token=token)
    assert found.status == 200 and found.body == content
    assert found.headers["Content-Disposition"].startswith("attachment")
    assert found.headers["Content-Security-Policy"].startswith("sandbox;")
    assert hub.request("GET", there, token=hub.token("dora")).status == 403


def test_a_browser_signs_in_at_the_hub_case_2_3_4_5(hub: HubProcess) -> None:
    with Browser(hub.url) as browser:
        first = {
            browser.visit(f"{SERVICE}/{path}").url.partition("?")[0] for path in ("", "nothing/api/query", "http/x")
        }
        assert first == {f"{hub.url}/hub/login"}
        browser.sign_in("alice")
        page = browser.visit(f"{SERVICE}/")
        assert page.status_code == 200 and "You are alice" in page.text and "<b>staging</b>: read, write" in page.text
        assert page.headers["Content-Security-Policy"].startswith("sandbox;")

        cookies, xsrf = browser.cookies(f"{SERVICE}/"), browser.cookie("_xsrf", f"{SERVICE}/")
        body = {"path": "notes:me", "args": {}}
        where = f"{SERVICE}/api/query"
        fetch = {"Cookie": cookies, "Sec_Fetch_Mode": "cors", "Sec_Fetch_Site": "same-origin", "Origin": hub.url}
        with_token = hub.request("POST", where, body, **fetch, X_XSRFToken=xsrf)
        assert with_token.json()["value"] == {
            "subject": "alice", "name": "alice", "issuer": "jupyterhub", "groups": ["team"],
            "tokenIdentifier": "jupyterhub|alice",
        }  # fmt: skip
        assert hub.request("POST", where, body, **fetch).status == 403  # case 4
        assert hub.request("POST", where, body, **(fetch | {"Sec_Fetch_Mode": "no-cors"})).status == 403
        assert hub.request("POST", where, body, Cookie=cookies).status == 403
        foreign = fetch | {"Origin": "http://127.0.0.1.evil.example"}
        assert hub.request("POST", where, body, **foreign, X_XSRFToken=xsrf).status == 403

        sync = f"{SERVICE}/api/sync"
        assert hub.handshake(f"{sync}?_xsrf={xsrf}", Cookie=cookies, Origin=hub.url) == (101, b"")
        for address, origin in (
            (sync, hub.url),
            (f"{sync}?_xsrf=x", hub.url),
            (f"{sync}?_xsrf={xsrf}", "http://evil.example"),
        ):
            assert hub.handshake(address, Cookie=cookies, Origin=origin)[0] == 403  # cases 2 and 3
        assert hub.handshake(f"{sync}?_xsrf={xsrf}", Cookie=cookies)[0] == 403
        token = hub.token("alice", ACCESS, "custom:nbreactive:read")
        assert hub.handshake(f"{sync}?token={token}", Sec_Fetch_Mode="websocket")[0] == 403  # case 5
        assert hub.request("GET", f"{SERVICE}/api/health?token={token}").status == 403


def test_what_is_taken_away_is_gone_soon_case_8(hub: HubProcess) -> None:
    """Requests are refused, and a live connection ends."""
    token = hub.token("eve", ACCESS, "custom:nbreactive:write")
    headers = {"Authorization": f"token {token}"}
    with Live(f"ws{hub.url[4:]}{SERVICE}/api/sync", "notes:me", headers) as live:
        wait_for(lambda: live.values, what="the first value")
        assert live.values[0]["subject"] == "eve"
        hub.api("DELETE", "groups/team/users", {"users": ["eve"]})
        assert live.closed.wait(30)
    wait_for(lambda: hub.call(SERVICE, "query", "notes:me", token).status == 403, what="eve is refused")
    assert hub.handshake(f"{SERVICE}/api/sync", token=token)[0] == 403


def test_a_shared_server_knows_who_is_who(hub: HubProcess, kernels: dict[str, Kernel]) -> None:
    """The extension in a user's server; while somebody is connected the server counts as active."""
    mount, scope = "/user/alice/nbreactive", "access:servers!server=alice/"
    shared = hub.api("POST", "shares/alice/", {"user": "bob", "scopes": [scope]}, token=hub.token("alice"))
    assert shared["user"]["name"] == "bob"
    bob = hub.token("bob", scope)
    me = hub.call(mount, "query", "notes:me", bob).json()["value"]
    assert (me["subject"], me["issuer"]) == ("bob", "jupyterhub") and "via" not in me
    owner = Kernel(hub, "alice", bob)  # his cell, in her kernel
    said = owner.run(f"{START}%reactive connect own\nprint(api.notes.me())")
    assert "on your server" in said and "whom this server is shared with on the Hub" in said
    assert "'subject': 'alice'" in said and "'via': 'kernel'" in said

    with Browser(hub.url) as browser:  # his page
        browser.sign_in("bob")
        browser.allow(browser.visit("/user/alice/"))
        assert browser.visit("/user/alice/api/me").json()["identity"]["username"] == "bob"
        page = {"Cookie": browser.cookies("/user/alice/"), "Origin": hub.url}
    with Live(f"ws{hub.url[4:]}{mount}/api/sync", "notes:me", page) as live:
        wait_for(lambda: live.values, what="the first value")
        assert live.values[0] == me

        def last() -> str:
            return hub.api("GET", "users/alice")["servers"][""]["last_activity"]

        before = last()
        wait_for(lambda: last() > before, what="the Hub hears of activity")
        hub.api("DELETE", "shares/alice/", {"user": "bob"}, token=hub.token("alice"))
        assert live.closed.wait(30)
    refused = {
        (answer.status, answer.body)
        for token in (bob, hub.token("carol"))
        for name in ("", "/default", "/nothing")
        for answer in [wait_refused(hub, f"{mount}{name}", token)]
    }
    assert len(refused) == 1, refused
    live_too = {hub.handshake(f"{mount}{name}/api/sync", token=bob) for name in ("", "/default", "/nothing")}
    assert len(live_too) == 1 and live_too.pop()[0] == 403


def wait_refused(hub: HubProcess, mount: str, token: str) -> Any:
    return wait_for(
        lambda: (answer := hub.call(mount, "query", "notes:me", token)).status == 403 and answer, what="a refusal"
    )
