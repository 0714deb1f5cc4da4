"""Functions that try what they may not, through a real backend and real workers (cases 26 to 28)."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.served import Served

QUERIES = {
    "opens_a_socket": ("socket.socket()", "cannot open a socket"),
    "looks_up_a_host": ("socket.getaddrinfo('localhost', 80)", "cannot look up a host"),
    "writes_a_file": ("open('/tmp/nbreactive-case-26', 'w')", "cannot write the file"),
    "starts_a_thread": ("threading.Thread(target=print).start()", "cannot start a thread"),
    "starts_a_process": ("subprocess.run(['true'])", "cannot start a process"),
    "draws_real_randomness": ("secrets.token_bytes(8)", "NotAllowed"),
    "inserts": ("ctx.db.insert('notes', {'text': 'query'})", "a query cannot write"),
    "runs_a_mutation": ("ctx.run_mutation(note, text='query')", "a query cannot run a mutation"),
    "hides_a_write": ("DatabaseWriter(ctx.db._txn).insert('notes', {'text': 'hidden'}) and None", None),
}

SOURCE = """
import random
import secrets
import socket
import subprocess
import threading
import time

from nbreactive import AppError, internal_mutation, mutation, query
from nbreactive.runtime.database import DatabaseWriter


@query
def texts(ctx):
    return [row["text"] for row in ctx.db.query("notes").collect()]


@mutation
def note(ctx, text: str):
    ctx.db.insert("notes", {"text": text})


@query
def echo(ctx, x: int):
    return x


@query
def world(ctx):
    first = [time.time(), time.monotonic(), time.perf_counter_ns(), ctx.now()]
    for _ in range(100_000):
        pass
    again = [time.time(), time.monotonic(), time.perf_counter_ns(), ctx.now()]
    random.seed(5)
    return [first == again, first[0] * 1000 == first[3], random.random()]


@mutation
def too_much(ctx, how: str):
    ctx.db.insert("notes", {"text": "before"})
    try:
        for n in range(40):
            ctx.db.insert("large", {"x": "x" * 1_000_000})
    except BaseException:
        pass
    if how == "writes on":
        ctx.db.insert("notes", {"text": "after"})
    elif how == "writes on in spite of everything":
        for _ in range(100):
            try:
                ctx.db.insert("notes", {"text": "after"})
            except BaseException:
                pass
    elif how == "forges":
        transaction = ctx._execution.txn
        for n in range(40):
            transaction.aborted = None
            try:
                ctx.db.insert("large", {"x": "x" * 1_000_000})
            except BaseException:
                pass
        transaction.aborted = None
    return "went on"


@mutation
def nested_too_much(ctx):
    ctx.db.insert("notes", {"text": "outer"})
    try:
        ctx.run_mutation(fills)
    except BaseException:
        pass
    return "went on"


@internal_mutation
def fills(ctx):
    for n in range(40):
        ctx.db.insert("large", {"x": "x" * 1_000_000})


@query
def counter(ctx):
    found = ctx.db.query("counters").first()
    return found["n"] if found else 0


@internal_mutation
def bump(ctx):
    found = ctx.db.query("counters").first()
    if found is None:
        ctx.db.insert("counters", {"n": 1})
    else:
        ctx.db.patch(found["_id"], {"n": found["n"] + 1})


@mutation
def bump_whatever_happens(ctx):
    for _ in range(3):
        try:
            ctx.run_mutation(bump)
        except BaseException:
            pass
        else:
            return ctx.run_query(counter)


@mutation
def half_nested(ctx):
    ctx.db.insert("notes", {"text": "whole"})
    try:
        ctx.run_mutation(fails)
    except AppError:
        pass


@internal_mutation
def fails(ctx):
    ctx.db.insert("notes", {"text": "half"})
    raise AppError("no")
"""
for _name, (_body, _) in QUERIES.items():
    SOURCE += f"\n\n@query\ndef {_name}(ctx):\n    return {_body}\n"

FORGED = {
    "the_number_of_another_call": "send(REPLY, encode(Reply(number + 1, Outcome(b'666'))))",
    "the_number_of_an_earlier_call": "send(REPLY, encode(Reply(number - 1, Outcome(b'666'))))",
    "a_huge_length": "sock.sendall(b'\\xff\\xff\\xff\\xff' + bytes([REPLY]))",
    "a_length_that_is_a_little_too_much": "sock.sendall((MAX_FRAME + 1).to_bytes(4, 'little') + bytes([REPLY]) + bytes(100))",
    "a_type_that_only_the_backend_sends": "send(CALL, b'')",
    "a_type_that_nobody_sends": "send(200, b'')",
    "no_msgpack": "send(REPLY, b'\\xc1' * 100)",
    "a_result_of_another_shape": "send(REPLY, msgspec.msgpack.encode({'number': number}))",
    "to_be_ready_again": "send(READY, b'')",
    "new_code_for_all": "write(Write(2, bytes(16), pack({'name': 'm', 'source': 'evil', '_creationTime': 1.0})))",
    "a_deploy": "write(Write(3, bytes(16), pack({'version': 99, '_creationTime': 1.0})))",
    "an_id_that_is_none": "write(Write(10001, b'short', pack({'_creationTime': 1.0})))",
    "writes_of_a_query": "write(Write(10001, bytes(16), pack({'_creationTime': 1.0})), kind='query')",
    "a_version_before_time": "write(Write(10001, bytes(16), pack({'_creationTime': 1.0}), -5))",
}
REFUSED_LATER = {
    "a_table_that_does_not_exist": ("write(Write(99_999, bytes(16), pack({'_creationTime': 1.0})))", "no table number"),
    "what_is_no_document": ("write(Write(10001, bytes(16), b'\\xc1'))", "not a packed value"),
    "a_document_without_a_time": ("write(Write(10001, bytes(16), pack({'text': 'forged'})))", "not a document"),
    "one_document_twice": ("write(*[Write(10001, bytes(16), pack({'text': 'x', '_creationTime': 1.0}))] * 2)", "twice"),
    "a_table_with_an_index": (
        "write(Write(1, bytes(16), pack(dict(table, indexes=[index]))))",
        "only create a plain table",
    ),
    "the_name_of_another_table": ("write(Write(1, bytes(16), pack(dict(table, name='notes'))))", "already"),
    "the_number_of_another_table": ("write(Write(1, bytes(16), pack(dict(table, number=10001))))", "already"),
    "a_reserved_name": ("write(Write(1, bytes(16), pack(dict(table, name='_forged'))))", "cannot be a table"),
    "no_table_at_all": ("write(Write(1, bytes(16), pack({'_creationTime': 1.0})))", "not a description of a table"),
}
FORGERIES = '''
import os
import socket
import sys
import time

import msgspec

from nbreactive import mutation
from nbreactive.engine.catalog import table_document
from nbreactive.engine.transactions import Outcome, Write
from nbreactive.runtime.frames import CALL, MAX_FRAME, READY, REPLY, Reply, encode, frame
from nbreactive.values.packing import pack

table = table_document("forged", 20_000, 1.0)
index = {"name": "x", "slot": 2, "fields": ["a"], "state": "ready"}


def forge(what, stay):
    """Send what no worker sends, from inside of a call."""
    at = sys._getframe()
    while "request" not in at.f_locals or "sock" not in at.f_locals:
        at = at.f_back
    sock, number = at.f_locals["sock"], at.f_locals["request"].number

    def send(kind, body):
        sock.sendall(frame(kind, body))

    def write(*writes, kind="mutation"):
        send(REPLY, encode(Reply(number, Outcome(b"666", writes=writes, kind=kind))))

    exec(what, {**globals(), "sock": sock, "number": number, "send": send, "write": write})
    if stay:
        time.sleep(30)
'''
for _name, _body in (FORGED | {name: body for name, (body, _) in REFUSED_LATER.items()}).items():
    _stay = _name in FORGED
    FORGERIES += f"\n\n@mutation\ndef {_name}(ctx):\n    ctx.db.insert('notes', {{'text': 'forged'}})\n    forge({_body!r}, {_stay})\n"


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with Served(tmp_path_factory.mktemp("hostile"), {"m": SOURCE, "forge": FORGERIES}) as running:
        running.call("mutation", "m:note", text="first")
        yield running


@pytest.mark.parametrize("name", QUERIES)
def test_a_query_has_no_effect_case_26(backend: Served, name: str) -> None:
    before = backend.call("query", "m:texts")
    answer = backend.ask("query", f"m:{name}")
    expected = QUERIES[name][1]
    if expected is None:
        assert answer["status"] == "success", answer
    else:
        assert answer["status"] == "error" and expected in answer["errorMessage"], answer
    assert backend.call("query", "m:texts") == before


def test_time_stands_still_and_chance_repeats_case_26(backend: Served) -> None:
    assert backend.call("query", "m:world") == [True, True, 0.6229016948897019]


@pytest.mark.parametrize("how", ["returns", "writes on", "writes on in spite of everything", "forges"])
def test_who_catches_the_end_of_a_transaction_commits_nothing_case_27(backend: Served, how: str) -> None:
    before = backend.call("query", "m:texts")
    answer = backend.ask("mutation", "m:too_much", how=how)
    assert answer["status"] == "error" and "bytes written by one" in answer["errorMessage"], answer
    assert backend.call("query", "m:texts") == before


def test_who_catches_the_end_of_a_nested_transaction_commits_nothing_case_27(backend: Served) -> None:
    before = backend.call("query", "m:texts")
    answer = backend.ask("mutation", "m:nested_too_much")
    assert answer["status"] == "error" and "bytes written by one" in answer["errorMessage"], answer
    assert backend.call("query", "m:texts") == before


def test_only_the_nested_mutation_that_failed_is_undone_case_27(backend: Served) -> None:
    backend.call("mutation", "m:half_nested")
    texts = backend.call("query", "m:texts")
    assert "whole" in texts and "half" not in texts


def test_no_conflict_can_be_caught_case_27(backend: Served) -> None:
    """Every loser of a conflict is run again as a whole, however much it catches."""
    with ThreadPoolExecutor(8) as threads:
        results = list(threads.map(lambda _: backend.call("mutation", "m:bump_whatever_happens"), range(80)))
    assert sorted(results) == list(range(1, 81))
    assert backend.call("query", "m:counter") == 80


def _workers(backend: Served) -> Any:
    return backend.fetch("/api/admin/status", admin=True)["workers"]


def _all_idle(backend: Served) -> list[int]:
    _until(lambda: _workers(backend)["idle"] > _workers(backend)["workers"], "there are never enough idle workers")
    return _workers(backend)["pids"]


def _until(condition: Callable[[], bool], otherwise: str) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, otherwise
        time.sleep(0.01)


@pytest.mark.parametrize("name", FORGED)
def test_a_forged_frame_ends_its_worker_case_28(backend: Served, name: str) -> None:
    before = backend.call("query", "m:texts")
    killed = _workers(backend)["crashes"]
    answer = backend.ask("mutation", f"forge:{name}")
    assert answer["status"] == "error", answer
    assert re.search("not part of the protocol .* was ended; it has written nothing", answer["errorMessage"]), answer
    assert _workers(backend)["crashes"] == killed + 1
    assert backend.call("query", "m:texts") == before


@pytest.mark.parametrize("name", REFUSED_LATER)
def test_forged_writes_are_refused_and_end_their_worker_too_case_28(backend: Served, name: str) -> None:
    """The committer refuses what it was sent; the worker ends when the call, answered already, is answered again."""
    before = backend.call("query", "m:texts")
    workers = set(_all_idle(backend))
    answer = backend.ask("mutation", f"forge:{name}")
    assert answer["status"] == "error" and REFUSED_LATER[name][1] in answer["errorMessage"], answer
    _until(lambda: not workers <= set(_workers(backend)["pids"]), "the worker goes on")
    assert backend.call("query", "m:texts") == before
    tables = {table["name"] for table in backend.fetch("/api/admin/tables", admin=True)["tables"]}
    assert "forged" not in tables


def test_other_calls_get_their_own_answers_beside_forgeries_case_28(backend: Served) -> None:
    done = threading.Event()
    wrong: list[tuple[int, object]] = []

    def ask(first: int) -> None:
        number = first
        while not done.is_set():
            answer = backend.ask("query", "m:echo", x=number)
            if answer.get("value") != number:
                wrong.append((number, answer))
            number += 4

    threads = [threading.Thread(target=ask, args=(first,)) for first in range(4)]
    for thread in threads:
        thread.start()
    for name in ("the_number_of_another_call", "a_huge_length", "new_code_for_all", "to_be_ready_again"):
        assert backend.ask("mutation", f"forge:{name}")["status"] == "error"
    done.set()
    for thread in threads:
        thread.join(30)
    assert not wrong
