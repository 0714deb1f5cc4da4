"""Bar 6: every way in which a function can misbehave is an error of its own, and everybody else goes on."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator

import pytest

from tests.served import Served

BAD = """
import ctypes
import os
import re
import subprocess
import sys
import time

from nbreactive import mutation, query

@query
def good(ctx):
    return ctx.db.query("notes").take(5)

@mutation
def note(ctx, text: str):
    return ctx.db.insert("notes", {"text": text})

@query
def how_many(ctx):
    return ctx.db.query("notes").count()

def bad_spin(ctx):
    while True:
        pass

def bad_sum(ctx):
    return sum(range(10**11))

def bad_sleep(ctx):
    time.sleep(60)

def bad_regex(ctx):
    return bool(re.match(r"(a+)+$", "a" * 64 + "!"))

def bad_memory(ctx):
    return len(bytearray(10 * 1024**3))

def bad_fork(ctx):
    while True:
        os.fork()

def bad_processes(ctx):
    return [subprocess.Popen(["sleep", "60"]) for _ in range(1000)]

def bad_descriptors(ctx):
    return [open(os.devnull) for _ in range(10**5)]

def bad_segfault(ctx):
    ctypes.string_at(0)

def bad_exit(ctx):
    os._exit(3)

def bad_sys_exit(ctx):
    sys.exit("bye")

def bad_base_exception(ctx):
    raise BaseException("not an Exception")

def bad_recursion(ctx):
    return bad_recursion(ctx)

def bad_object(ctx):
    return object()

def bad_cycle(ctx):
    result = []
    result.append(result)
    return result

def bad_huge(ctx):
    return "x" * 10**9

@mutation
def prints_a_gigabyte(ctx):
    line = "x" * (1 << 20)
    for _ in range(1024):
        print(line)
    return ctx.db.insert("notes", {"text": "printed"})

class Raising:
    def __del__(self):
        raise RuntimeError("in __del__")

@mutation
def raising_del(ctx):
    Raising()
    ctx.db.insert("notes", {"text": "del"})
    return "fine"
"""

HEAVY = """
import polars
import pyarrow

from nbreactive import query

@query
def frame(ctx):
    return polars.DataFrame({"a": [1, 2, 3]})["a"].sum() + len(pyarrow.array([1, 2]))

@query
def spin(ctx):
    while True:
        polars.Series([1, 2]).sum()
"""

CASES = {
    23: {"spin": "more than 1 s", "sum": "more than 1 s", "sleep": "more than 1 s", "regex": "more than 1 s"},
    24: {
        "memory": "memory",
        "fork": "cannot fork",
        "processes": "cannot start a process",
        "descriptors": "too many open files",
    },
    25: {
        "segfault": "SIGSEGV",
        "exit": "exit status 3",
        "sys_exit": "bye",
        "base_exception": "not an Exception",
        "recursion": "recursion",
        "object": "object",
        "cycle": "contains itself",
        "huge": "characters in a string|more than 1 s",
    },
}


# One function for each, as one that was killed five times within a minute is not run for a while. Each writes first, so
# that a half-written mutation would show.
for _how in [how for case in CASES.values() for how in case]:
    BAD += f"""
@mutation
def misbehave_{_how}(ctx):
    ctx.db.insert("notes", {{"text": "half of {_how}"}})
    return bad_{_how}(ctx)
"""


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with Served(tmp_path_factory.mktemp("isolation"), {"bad": BAD, "heavy": HEAVY}) as served:
        yield served


def _fails_and_writes_nothing(backend: Served, how: str, error: str) -> None:
    before = backend.call("query", "bad:how_many")
    answer = backend.ask("mutation", f"bad:misbehave_{how}")
    assert answer["status"] == "error", answer
    assert re.search(error, answer["errorMessage"], re.IGNORECASE), answer
    assert backend.call("query", "bad:how_many") == before, "half of a failed mutation is visible"
    assert isinstance(backend.call("query", "bad:good"), list)


@pytest.mark.parametrize("how", CASES[23])
def test_an_endless_function_is_ended_case_23(backend: Served, how: str) -> None:
    _fails_and_writes_nothing(backend, how, CASES[23][how])


@pytest.mark.parametrize("how", CASES[24])
def test_a_greedy_function_meets_its_limits_case_24(backend: Served, how: str) -> None:
    _fails_and_writes_nothing(backend, how, CASES[24][how])


def test_a_gigabyte_of_prints_is_cut_case_24(backend: Served) -> None:
    answer = backend.ask("mutation", "bad:prints_a_gigabyte")
    assert answer["status"] == "success", answer
    lines = answer["logLines"]
    assert len(lines) == 256 and all(len(line) < 5000 for line in lines)
    assert "769 more lines were dropped" in lines[-1]


@pytest.mark.parametrize("how", CASES[25])
def test_a_function_that_ends_its_process_or_returns_no_value_case_25(backend: Served, how: str) -> None:
    _fails_and_writes_nothing(backend, how, CASES[25][how])


def test_raising_del_does_no_harm(backend: Served) -> None:
    assert backend.call("mutation", "bad:raising_del") == "fine"


def test_polars_and_pyarrow_work_also_after_a_kill(backend: Served) -> None:
    assert backend.call("query", "heavy:frame") == 8
    with pytest.raises(RuntimeError, match="more than 1 s"):
        backend.call("query", "heavy:spin")
    assert backend.call("query", "heavy:frame") == 8


def test_others_go_on_while_one_misbehaves(backend: Served) -> None:
    """Eight callers are served the whole time in which a ninth keeps one worker stuck."""
    answered = [0] * 8
    stuck = threading.Event()

    def call(number: int) -> None:
        while not stuck.is_set():
            backend.call("query", "bad:good")
            answered[number] += 1

    threads = [threading.Thread(target=call, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    begun = time.monotonic()
    for how in ("spin", "sleep", "segfault", "exit"):
        before = list(answered)
        with pytest.raises(RuntimeError):
            backend.call("mutation", f"bad:misbehave_{how}")
        assert all(now > then for now, then in zip(answered, before, strict=True)), f"{how}: somebody was not served"
    assert time.monotonic() - begun < 30
    stuck.set()
    for thread in threads:
        thread.join(30)
