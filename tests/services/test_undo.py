"""Listing commits and undoing them, against the real backend and as a model of random mutations."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from nbreactive import api
from nbreactive.client.client import Client
from nbreactive.client.target import Target
from nbreactive.errors import FunctionNotFound, InvalidValue, Refused, UndoRefused
from tests.cli.test_backup import nbreactive
from tests.client.fake_server import until
from tests.client.test_real_backend import deploy
from tests.served import KEY, Served

NOTES = """
from nbreactive import mutation, query

@query
def all_of(ctx):
    return [ctx.db.query(table).collect() for table in ("notes", "counters")]

@query
def count(ctx):
    return ctx.db.query("notes").with_index("by_creation_time").count()

@mutation
def add(ctx, text: str, twice: bool = False):
    ids = [ctx.db.insert("notes", {"text": text}) for _ in range(1 + twice)]
    return ids[0]

@mutation
def edit(ctx, id: str, text: str):
    ctx.db.replace(id, {"text": text, "edited": True})

@mutation
def remove(ctx, id: str):
    ctx.db.delete(id)

@mutation
def replace_all(ctx, text: str):
    for note in ctx.db.query("notes").collect():
        ctx.db.delete(note["_id"])
    ctx.db.insert("notes", {"text": text})
    counter = ctx.db.query("counters").first()
    if counter is None:
        ctx.db.insert("counters", {"count": 1})
    else:
        ctx.db.patch(counter["_id"], {"count": counter["count"] + 1})

@mutation
def later(ctx, text: str):
    return ctx.scheduler.run_after(3_600_000, "notes:add", text=text)

@mutation
def not_later(ctx, id: str):
    ctx.scheduler.cancel(id)

@query
def jobs(ctx):
    return [job["state"]["kind"] for job in ctx.db.system.query("_scheduled_functions").collect()]
"""


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with Served(tmp_path_factory.mktemp("undo")) as running:
        yield running


@pytest.fixture(scope="module")
def admin(backend: Served) -> Iterator[Client]:
    with Client(Target(backend.url, headers={"Authorization": f"Convex {KEY}"})) as client:
        deploy(client, NOTES, module="notes")
        yield client


def changes(client: Client, **query: Any) -> list[dict[str, Any]]:
    asked = "&".join(f"{name}={value}" for name, value in query.items())
    return client.admin("GET", f"changes?{asked}")["changes"]


def undo(client: Client, commit: str, *, force: bool = False) -> Any:
    return client.admin("POST", "undo", {"commit": commit, "force": force})


def test_commits_are_listed_with_what_they_did(admin: Client) -> None:
    id = admin.call(api.notes.add, {"text": "listed", "twice": True})
    admin.call(api.notes.edit, {"id": id, "text": "edited"})
    admin.call(api.notes.remove, {"id": id})
    removed, edited, added = changes(admin, limit=3, table="notes")
    assert [each["function"] for each in (added, edited, removed)] == ["notes:add", "notes:edit", "notes:remove"]
    assert added["tables"]["notes"] == {"inserted": 2, "changed": 0, "deleted": 0}
    assert edited["tables"] == {"notes": {"inserted": 0, "changed": 1, "deleted": 0}}
    assert removed["tables"] == {"notes": {"inserted": 0, "changed": 0, "deleted": 1}}
    assert int(added["ts"]) < int(edited["ts"]) < int(removed["ts"])
    assert len(added["request"]) == 16
    assert changes(admin, since=edited["ts"]) == [removed]
    with pytest.raises(FunctionNotFound, match="no table 'nothing'"):
        changes(admin, table="nothing")


def test_undo_brings_back_and_takes_away(admin: Client) -> None:
    before = admin.call(api.notes.all_of)
    with admin.live(api.notes.all_of) as live:
        admin.call(api.notes.replace_all, {"text": "all new"})
        replaced = changes(admin, limit=1)[0]
        after = admin.call(api.notes.all_of)
        assert after != before
        done = undo(admin, replaced["ts"])
        assert done["function"] == "notes:replace_all"
        assert admin.call(api.notes.all_of)[0] == before[0]  # ids, creation times and all
        until(lambda: live.value[0] == before[0])
        assert changes(admin, limit=1)[0]["function"] == f"undo {replaced['ts']}"
        undo(admin, done["ts"])  # which undoes the undoing
        assert admin.call(api.notes.all_of) == after


def test_undo_by_the_id_of_the_request(backend: Served, admin: Client) -> None:
    id = admin.call(api.notes.add, {"text": "by request"})
    request = changes(admin, limit=1)[0]["request"]
    assert undo(admin, request)["documents"] == {"notes": 1}
    assert id not in json.dumps(admin.call(api.notes.all_of))
    with pytest.raises(InvalidValue, match="has committed nothing"):
        undo(admin, "0123456789abcdef")
    with pytest.raises(InvalidValue, match="names no commit"):
        undo(admin, "yesterday")
    with pytest.raises(InvalidValue, match="nothing was committed at"):
        undo(admin, str(int(changes(admin, limit=1)[0]["ts"]) + 1))


def test_what_was_changed_since_is_named_and_kept(admin: Client) -> None:
    id = admin.call(api.notes.add, {"text": "first"})
    added = changes(admin, limit=1)[0]["ts"]
    admin.call(api.notes.edit, {"id": id, "text": "second"})
    edited = changes(admin, limit=1)[0]["ts"]
    admin.call(api.notes.edit, {"id": id, "text": "third"})
    for ts in (added, edited):
        with pytest.raises(UndoRefused, match=f"1 of its 1 documents were changed since: notes {id}"):
            undo(admin, ts)
    assert id in json.dumps(admin.call(api.notes.all_of))
    undo(admin, edited, force=True)
    assert [note["text"] for note in admin.call(api.notes.all_of)[0] if note["_id"] == id] == ["first"]
    undo(admin, added, force=True)
    assert id not in json.dumps(admin.call(api.notes.all_of))
    with pytest.raises(UndoRefused, match="all is as it was before"):
        undo(admin, added, force=True)


def test_what_is_as_the_commit_left_it_has_not_changed(admin: Client) -> None:
    id = admin.call(api.notes.add, {"text": "twice"})
    admin.call(api.notes.remove, {"id": id})
    first = changes(admin, limit=1)[0]["ts"]
    undo(admin, first)
    admin.call(api.notes.remove, {"id": id})
    undo(admin, first)
    assert id in json.dumps(admin.call(api.notes.all_of))


def test_the_schema_of_today_holds(admin: Client) -> None:
    id = admin.call(api.notes.add, {"text": "to be removed"})
    admin.call(api.notes.remove, {"id": id})
    removed = changes(admin, limit=1)[0]["ts"]
    for note in admin.call(api.notes.all_of)[0]:
        admin.call(api.notes.remove, {"id": note["_id"]})
    schema = 'from nbreactive import define_schema, define_table, v\nschema = define_schema({"notes": define_table({"words": v.number()})})\n'
    version = deploy(admin, schema, module="strict")["version"]
    with pytest.raises(UndoRefused, match=f"notes {id} as it was does not match the schema of today"):
        undo(admin, removed)
    admin.admin("POST", "deploy", {"modules": [], "remove": ["strict"], "base": {"strict": version}, "force": True})
    undo(admin, removed)
    assert id in json.dumps(admin.call(api.notes.all_of))


def test_what_a_function_has_scheduled_goes_too(admin: Client) -> None:
    job = admin.call(api.notes.later, {"text": "much later"})
    scheduled = changes(admin, limit=1)[0]
    assert scheduled["tables"] == {"_scheduled_functions": {"inserted": 1, "changed": 0, "deleted": 0}}
    admin.call(api.notes.not_later, {"id": job})
    undo(admin, changes(admin, limit=1)[0]["ts"])
    assert admin.call(api.notes.jobs) == ["pending"]
    undo(admin, scheduled["ts"], force=True)
    assert admin.call(api.notes.jobs) == []


def test_deploys_are_not_undone_so(admin: Client) -> None:
    last = admin.admin("GET", "status")["durable_ts"]
    deploy(admin, "def helper(): pass\n", module="other")
    ts = admin.admin("GET", "status")["durable_ts"]
    assert ts != last
    with pytest.raises(UndoRefused, match="none of documents: deploys are taken back with rollback"):
        undo(admin, ts)


def test_only_who_may_deploy_may_undo(backend: Served, admin: Client) -> None:
    admin.call(api.notes.add, {"text": "mine"})
    ts = changes(admin, limit=1)[0]["ts"]
    with Client(Target(backend.url)) as anybody:
        with pytest.raises(Refused):
            undo(anybody, ts)
        with pytest.raises(Refused):
            changes(anybody)


def test_on_the_command_line(backend: Served, admin: Client) -> None:
    admin.call(api.notes.add, {"text": "typed"})
    place = ["--at", backend.data, "--admin-key", KEY]
    listed = nbreactive("changes", "--table", "notes", "--limit", 1, *place)
    ts = changes(admin, limit=1)[0]["ts"]
    assert "notes:add" in listed
    assert ts in listed
    assert nbreactive("changes", "--json", "--limit", 1, *place)["changes"][0]["ts"] == ts
    assert "undone" in nbreactive("undo", ts, *place)
    assert "were changed since" in nbreactive("undo", ts, *place, status=1)


class Mutations(RuleBasedStateMachine):
    """Random mutations; undoing the last ones, from the newest on, restores each earlier state exactly."""

    client: Client

    def __init__(self) -> None:
        super().__init__()
        self.states = [self.client.call(api.notes.all_of)]
        self.commits: list[str] = []

    def _did(self) -> None:
        self.states.append(self.client.call(api.notes.all_of))
        self.commits.append(changes(self.client, limit=1)[0]["ts"])

    def _id(self, data: int) -> str | None:
        notes = self.states[-1][0]
        return notes[data % len(notes)]["_id"] if notes else None

    @rule(text=st.text(max_size=5), twice=st.booleans())
    def add(self, text: str, twice: bool) -> None:
        self.client.call(api.notes.add, {"text": text, "twice": twice})
        self._did()

    @rule(which=st.integers(0, 20), text=st.text(max_size=5))
    def edit(self, which: int, text: str) -> None:
        if (id := self._id(which)) is not None:
            self.client.call(api.notes.edit, {"id": id, "text": text})
            self._did()

    @rule(which=st.integers(0, 20))
    def remove(self, which: int) -> None:
        if (id := self._id(which)) is not None:
            self.client.call(api.notes.remove, {"id": id})
            self._did()

    @rule(text=st.text(max_size=5))
    def replace_all(self, text: str) -> None:
        self.client.call(api.notes.replace_all, {"text": text})
        self._did()

    @rule(many=st.integers(1, 4))
    def undo(self, many: int) -> None:
        for _ in range(min(many, len(self.commits))):
            undo(self.client, self.commits.pop())
            self.states.pop()
            assert self.client.call(api.notes.all_of) == self.states[-1]

    @rule()
    def undo_and_redo(self) -> None:
        if not self.commits:
            return
        done = undo(self.client, self.commits[-1])
        assert self.client.call(api.notes.all_of) == self.states[-2]
        redone = undo(self.client, done["ts"])
        assert self.client.call(api.notes.all_of) == self.states[-1]
        self.commits[-1] = redone["ts"]

    @invariant()
    def counters_and_indexes_agree(self) -> None:
        assert self.client.call(api.notes.count) == len(self.states[-1][0])

    def teardown(self) -> None:
        while self.commits:
            self.undo(1)


def test_undoing_the_last_mutations_restores_what_was(tmp_path: Path) -> None:
    with Served(tmp_path, {"notes": NOTES}) as served:
        with Client(Target(served.url, headers={"Authorization": f"Convex {KEY}"})) as client:
            client.call(api.notes.replace_all, {"text": "the first"})  # tables come with it
            machine = type("On", (Mutations,), {"client": client})
            run_state_machine_as_test(
                machine,
                settings=settings(
                    max_examples=8,
                    stateful_step_count=12,
                    deadline=None,
                    suppress_health_check=list(HealthCheck),
                ),
            )
        assert served.stop() == 0
        assert nbreactive("doctor", served.data, "--json")
