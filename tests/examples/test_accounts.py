"""The accounts example, as whoever has copied it uses it."""

from __future__ import annotations

import concurrent.futures
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import nbreactive
from nbreactive.client import Client, discovery, threads
from nbreactive.errors import AppError, Unauthenticated
from nbreactive.functions.references import reference
from tests.served import KEY, Served

FOLDER = Path(__file__).parents[2] / "examples" / "accounts" / "reactive"
MODULES = {path.stem: path.read_text("utf-8") for path in FOLDER.glob("*.py")}
PASSWORD = "correct horse battery"


RULES = """
from nbreactive import rules

rules("notes", read=True)
"""


def ref(name: str) -> Any:
    return reference(f"accounts:{name}")


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with Served(tmp_path_factory.mktemp("accounts"), MODULES) as running:
        yield running


@pytest.fixture
def client(backend: Served) -> Iterator[Client]:
    with nbreactive.connect(backend.url) as connected:
        yield connected


def code(client: Client, function: str, /, **args: Any) -> str:
    with pytest.raises(AppError) as caught:
        client.call(ref(function), args)
    return caught.value.data["code"]


def test_sign_up_in_and_out(backend: Served, client: Client) -> None:
    me = client.live(ref("current_user"))
    assert me.value is None
    made = client.call(ref("sign_up"), {"email": "Ada@Example.org ", "password": PASSWORD, "name": "Ada"})
    client.set_auth(made["token"])
    user = client.call(ref("current_user"))
    assert user["name"] == "Ada" and user["email"] == "ada@example.org" and "passwordHash" not in user
    assert user["tokenIdentifier"] == f"accounts|{made['userId']}" and user["_id"] == made["userId"]
    assert client.call(ref("store_user")) == made["userId"]

    with Client(threads.loop_thread().submit(discovery.find(backend.url)).result()) as second:
        other = second.call(ref("sign_in"), {"email": "ADA@example.org", "password": PASSWORD})
        assert other["userId"] == made["userId"] and other["token"] != made["token"]
        second.set_auth(other["token"])
        assert second.call(ref("current_user"))["name"] == "Ada"
        live = second.live(ref("current_user"))
        # Signed out elsewhere: this connection, too, is nobody at once.
        assert client.call(ref("sign_out"), {"token": other["token"]}) is True
        deadline = time.monotonic() + 30
        while live.value is not None:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        with pytest.raises(Unauthenticated):
            second.set_auth(other["token"])
    assert client.call(ref("sign_out"), {"token": other["token"]}) is False  # it was, before
    assert client.call(ref("current_user"))["name"] == "Ada"  # the first session goes on


def test_it_works_beside_row_rules(tmp_path: Path) -> None:
    with Served(tmp_path, {**MODULES, "notes": RULES}) as backend, nbreactive.connect(backend.url) as client:
        made = client.call(ref("sign_up"), {"email": "ada@example.org", "password": PASSWORD, "name": "Ada"})
        client.set_auth(made["token"])
        assert client.call(ref("current_user"))["name"] == "Ada"
        assert client.call(ref("store_user")) == made["userId"]
        assert client.call(ref("sign_out"), {"token": made["token"]}) is True
        with pytest.raises(Unauthenticated):
            client.set_auth(made["token"])


def test_what_is_wrong_is_not_told(client: Client) -> None:
    client.call(ref("sign_up"), {"email": "bob@example.org", "password": PASSWORD, "name": "Bob"})
    wrong = [
        {"email": "bob@example.org", "password": "wrong password"},
        {"email": "nobody@example.org", "password": PASSWORD},
        {"email": "bob@example.org", "password": "x" * 100_000},
        {"email": "bob@example.org", "password": ""},
    ]
    said = set()
    for args in wrong:
        with pytest.raises(AppError) as caught:
            client.call(ref("sign_in"), args)
        said.add(json.dumps(caught.value.data))
    assert len(said) == 1 and "INVALID_CREDENTIALS" in said.pop()
    assert code(client, "sign_up", email="BOB@example.org", password=PASSWORD, name="B") == "CANNOT_SIGN_UP"
    assert code(client, "sign_up", email="eve@example.org", password="short", name="E") == "WEAK_PASSWORD"
    assert code(client, "sign_up", email="not an address", password=PASSWORD, name="E") == "NO_ADDRESS"
    assert code(client, "sign_up", email="eve@example.org", password=PASSWORD, name=" ") == "NO_NAME"


def test_attempts_are_counted_although_they_fail(client: Client) -> None:
    client.call(ref("sign_up"), {"email": "carl@example.org", "password": PASSWORD, "name": "Carl"})
    for _ in range(5):
        assert code(client, "sign_in", email="carl@example.org", password="guess") == "INVALID_CREDENTIALS"
    assert code(client, "sign_in", email="carl@example.org", password="guess") == "TOO_MANY_ATTEMPTS"
    assert code(client, "sign_in", email="carl@example.org", password=PASSWORD) == "TOO_MANY_ATTEMPTS"
    assert code(client, "sign_in", email="dora@example.org", password=PASSWORD) == "INVALID_CREDENTIALS"


def test_many_guesses_at_once_are_many(backend: Served) -> None:
    backend.call("action", "accounts:sign_up", email="gina@example.org", password=PASSWORD, name="Gina")

    def guess(number: int) -> str:
        answer = backend.ask("action", "accounts:sign_in", email="gina@example.org", password=f"guess {number}")
        return answer["errorData"]["code"]

    with concurrent.futures.ThreadPoolExecutor(12) as pool:
        said = list(pool.map(guess, range(12)))
    assert sorted(said) == ["INVALID_CREDENTIALS"] * 5 + ["TOO_MANY_ATTEMPTS"] * 7


def test_two_who_sign_up_with_one_address_at_once(backend: Served) -> None:
    def sign_up(name: str) -> Any:
        return backend.ask("action", "accounts:sign_up", email="twin@example.org", password=PASSWORD, name=name)

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(sign_up, ["a", "b", "c", "d"]))
    assert sorted(answer["status"] for answer in answers) == ["error"] * 3 + ["success"]


def test_no_secret_is_kept_or_logged(backend: Served, client: Client) -> None:
    password = "a-password-to-look-for"
    made = client.call(ref("sign_up"), {"email": "frank@example.org", "password": password, "name": "Frank"})
    client.set_auth(made["token"])
    client.call(ref("current_user"))
    rows = backend.fetch(
        "/api/function", {"path": "accounts:by_email", "args": {"email": "frank@example.org"}}, admin=True
    )
    assert rows["value"]["passwordHash"].startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    for secret in (password, made["token"], KEY):
        assert secret not in backend.log
        for file in (backend.data / "log").iterdir():
            assert secret.encode() not in file.read_bytes()
