"""Environment variables: part of the snapshot, limited, and never told to those who may not see them."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nbreactive.client.client import Client
from nbreactive.client.target import Target
from tests.served import KEY, Served

MODULE = """
from nbreactive import mutation, query

@query
def secret(ctx):
    return ctx.env["SECRET"]

@query
def known(ctx, name: str):
    return ctx.env.get(name, "-") if name in ctx.env else None

@query
def names(ctx):
    return sorted(ctx.env)

@query
def unrelated(ctx):
    return 1

@query
def shown(ctx):
    return repr(ctx.env)

@query
def wrong(ctx):
    return ctx.env[1]

@mutation
def keep(ctx):
    return ctx.db.insert("kept", {"value": ctx.env["SECRET"]})
"""


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with Served(tmp_path_factory.mktemp("env"), {"e": MODULE}) as running:
        yield running


def change(backend: Served, **values: str | None) -> Any:
    changes = [{"name": name, "value": value} for name, value in values.items()]
    return backend.fetch("/api/update_environment_variables", {"changes": changes}, admin=True)


def listed(backend: Served) -> dict[str, str]:
    return backend.fetch("/api/list_environment_variables", admin=True)["environmentVariables"]


def test_functions_read_what_was_set_and_see_it_removed(backend: Served) -> None:
    missing = backend.ask("query", "e:secret")["errorMessage"]
    assert "MissingVariable: the environment variable 'SECRET' is not set" in missing and "%reactive env set" in missing
    assert change(backend, SECRET="s3cr3t", OTHER="o") == {"changed": 2}
    assert backend.call("query", "e:secret") == "s3cr3t"
    assert listed(backend) == {"OTHER": "o", "SECRET": "s3cr3t"}
    assert backend.call("query", "e:known", name="OTHER") == "o"
    assert backend.call("query", "e:known", name="NOT_THERE") is None
    assert set(backend.call("query", "e:names")) >= {"OTHER", "SECRET", "CONVEX_CLOUD_URL"}
    assert "s3cr3t" not in backend.call("query", "e:shown")
    assert "named by a string" in backend.ask("query", "e:wrong")["errorMessage"]
    assert backend.call("mutation", "e:keep")
    assert change(backend, OTHER=None, NEVER_SET=None) == {"changed": 2}
    assert listed(backend) == {"SECRET": "s3cr3t"}
    change(backend, SECRET=None)


def test_the_address_is_always_there(backend: Served) -> None:
    assert backend.call("query", "e:known", name="CONVEX_CLOUD_URL") == backend.url
    assert backend.call("query", "e:known", name="CONVEX_SITE_URL") == f"{backend.url}/http"
    assert backend.call("query", "e:known", name="NBREACTIVE_URL") == backend.url
    assert "CONVEX_CLOUD_URL" not in listed(backend)
    assert "set by the backend itself" in change(backend, CONVEX_SITE_URL="x")["message"]


def test_survives_a_kill(tmp_path: Path) -> None:
    with Served(tmp_path, {"e": MODULE}) as backend:
        change(backend, SECRET="kept")
        backend.kill()
        backend.start()
        assert backend.call("query", "e:secret") == "kept"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ([{"name": "1X", "value": "v4lue"}], "does not start with a digit"),
        ([{"name": "A-B", "value": "v4lue"}], "letters, digits and _"),
        ([{"name": "", "value": "v4lue"}], "letters, digits and _"),
        ([{"name": "X" * 65, "value": "v4lue"}], "65 characters in the name of an environment variable, at most 64"),
        ([{"name": "BIG", "value": "v4lue" * 1700}], "8500 bytes in the environment variable BIG, at most 8192"),
        ([{"name": "A", "value": "v4lue"}, {"name": "A", "value": None}], "changed twice"),
        ([{"name": f"V{n}", "value": "v4lue"} for n in range(513)], "513 environment variables, at most 512"),
        (
            [{"name": f"V{n}", "value": "v4lue" * 1600} for n in range(70)],
            "bytes in all environment variables, at most",
        ),
        ([{"name": "A", "value": 5}], "not the JSON that it should be"),
    ],
)
def test_refused_changes_change_nothing_and_repeat_no_value(
    backend: Served, changes: list[dict[str, Any]], said: str
) -> None:
    before = listed(backend)
    refused = backend.fetch("/api/update_environment_variables", {"changes": changes}, admin=True)
    assert said in refused["message"] and "v4lue" not in json.dumps(refused)
    assert listed(backend) == before
    assert "v4lue" not in backend.log


def test_lesser_roles_see_and_set_nothing(backend: Served) -> None:
    change(backend, HIDDEN="h1dden")
    for path, body in (
        ("/api/list_environment_variables", None),
        ("/api/update_environment_variables", {"changes": [{"name": "HIDDEN", "value": "mine"}]}),
    ):
        refused = backend.fetch(path, body)
        assert refused["code"] == "Refused" and "h1dden" not in json.dumps(refused)
    for path in ("_system/cli/queryEnvironmentVariables", "_system/cli/queryEnvironmentVariables:get"):
        answer = backend.ask("query", path, name="HIDDEN")
        assert answer["status"] == "error" and "h1dden" not in json.dumps(answer)
    assert listed(backend)["HIDDEN"] == "h1dden"
    assert "h1dden" not in backend.log and '"set": ["HIDDEN"]' in backend.log
    change(backend, HIDDEN=None)


def test_changing_one_reruns_exactly_the_live_queries_that_read_it(backend: Served) -> None:
    with Client(_target(backend)) as client:
        change(backend, SECRET="one")
        seen: list[Any] = []
        secret = client.live("e:secret")
        secret.observe(lambda change: seen.append(change["new"]), "value")
        absent = client.live("e:known", {"name": "LATER"})
        client.live("e:unrelated")

        def runs() -> int:
            return backend.fetch("/api/admin/status", admin=True)["executions"]["queries"]

        before = runs()
        change(backend, SECRET="two")
        _until(lambda: secret.value == "two")
        assert runs() == before + 1
        change(backend, LATER="now")
        _until(lambda: absent.value == "now")
        assert runs() == before + 2
        change(backend, UNRELATED="x")
        assert client.call("e:secret") == "two"
        assert runs() <= before + 3
        change(backend, SECRET=None, LATER=None, UNRELATED=None)


def test_actions_have_them_too(tmp_path: Path) -> None:
    source = MODULE + "\nfrom nbreactive import action\n@action\ndef act(ctx):\n    return ctx.env['SECRET']\n"
    with Served(tmp_path, {"e": source}) as backend:
        change(backend, SECRET="for actions")
        assert backend.call("action", "e:act") == "for actions"
        change(backend, SECRET="newer")
        assert backend.call("action", "e:act") == "newer"


def _target(backend: Served) -> Target:
    return Target(backend.url, "backend", {"Authorization": f"Convex {KEY}"})


def _until(condition: Any) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "waited for too long"
        time.sleep(0.01)


def test_no_cors_read_by_other_origins(backend: Served) -> None:
    request = urllib.request.Request(
        f"{backend.url}/api/list_environment_variables",
        headers={"Authorization": f"Convex {KEY}", "Origin": "http://evil.example"},
    )
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request)
    assert refused.value.code == 403
    refused.value.close()
