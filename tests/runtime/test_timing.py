"""The time of one call: imports, starvation, and what a worker may claim."""

from __future__ import annotations

import math
import subprocess
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbreactive.runtime import timing
from nbreactive.runtime._processes import cpu_of
from nbreactive.runtime.timing import Cpu, Stopwatch


def _unknown() -> Cpu | None:
    return None


def test_without_anything_special_the_limit_is_the_limit() -> None:
    clock = Stopwatch(1.0, 100.0)
    assert clock.over(101.0, _unknown) == ""
    assert clock.over(101.01, _unknown) == "time"


def test_imports_do_not_count() -> None:
    clock = Stopwatch(1.0, 100.0)
    clock.begin_import(100.5)
    assert clock.over(104.0, _unknown) == ""
    clock.end_import(104.5, 4.0, 0.0)
    assert clock.over(105.0, _unknown) == ""
    assert clock.over(105.01, _unknown) == "time"


def test_a_busy_loop_that_hears_of_both_ends_at_once_takes_the_workers_figure() -> None:
    clock = Stopwatch(1.0, 100.0)
    clock.begin_import(101.3)
    clock.end_import(101.3, 0.8, 0.5)
    assert clock.over(101.5, _unknown) == ""
    assert clock.over(101.81, _unknown) == "time"


def test_a_hang_in_an_import_ends_at_the_bound() -> None:
    clock = Stopwatch(1.0, 100.0)
    clock.begin_import(100.0)
    assert clock.over(110.9, _unknown) == ""
    assert clock.over(111.1, _unknown) == "imports"


@given(st.lists(st.tuples(st.floats(0, 5), st.floats(), st.floats()), max_size=40))
def test_no_claim_keeps_a_worker_longer_than_both_limits_and_the_grace(
    claims: list[tuple[float, float, float]],
) -> None:
    now = 100.0
    clock = Stopwatch(1.0, now)
    clock.observe(now, (0.0, True))
    for pause, seconds, cpu in claims:
        clock.begin_import(now)
        now += pause
        clock.end_import(now, seconds, cpu)
    latest = 100.0 + 1.0 + timing.IMPORT_SECONDS + timing.GRACE_SECONDS
    assert clock.over(max(now, latest) + 0.001, lambda: (0.0, True))


def test_frames_that_no_honest_worker_sends() -> None:
    clock = Stopwatch(1.0, 100.0)
    with pytest.raises(ValueError, match="did not begin"):
        clock.end_import(100.0, 1.0, 0.0)
    clock.begin_import(100.0)
    with pytest.raises(ValueError, match="more imports"):
        clock.begin_import(100.0)
    clock.end_import(100.0, math.nan, -1.0)
    with pytest.raises(ValueError, match="more imports"):
        for _ in range(1000):
            clock.begin_import(100.0)
            clock.end_import(100.0, 0.0, 0.0)


@pytest.mark.parametrize(
    ("cpu", "runnable", "more"),
    [
        (0.3, True, True),  # the machine was busy
        (0.3, False, False),  # it sleeps
        (0.95, True, False),  # it had its time
    ],
)
def test_who_gets_more_time(cpu: float, runnable: bool, more: bool) -> None:
    clock = Stopwatch(1.0, 100.0)
    clock.observe(100.02, (7.02, True))
    assert (clock.over(101.01, lambda: (7.0 + cpu, runnable)) == "") is more


def test_more_time_ends_with_the_cpu_time_or_after_four_tenths() -> None:
    def starved() -> Stopwatch:
        clock = Stopwatch(1.0, 100.0)
        clock.observe(100.02, (7.02, True))
        assert clock.over(101.01, lambda: (7.5, True)) == ""
        return clock

    assert starved().over(101.2, lambda: (8.01, True)) == "time"
    assert starved().over(101.3, lambda: (7.7, False)) == ""  # it may wait for a page of a file just now
    assert starved().over(101.41, lambda: (7.7, True)) == "time"


def test_cpu_of_an_import_is_not_the_functions() -> None:
    clock = Stopwatch(1.0, 100.0)
    clock.observe(100.02, (7.02, True))
    clock.begin_import(100.1)
    clock.end_import(103.1, 3.0, 2.5)
    assert clock.over(104.01, lambda: (7.0 + 2.5 + 0.4, True)) == ""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells")
@pytest.mark.parametrize(("code", "runs"), [("while True: pass", True), ("import time; time.sleep(600)", False)])
def test_what_linux_tells_of_a_process(code: str, runs: bool) -> None:
    with subprocess.Popen([sys.executable, "-S", "-c", code]) as process:
        try:
            deadline = time.monotonic() + 30
            while True:
                found = cpu_of(process.pid)
                assert found is not None
                if (runs and found[0] > 0.1 and found[1]) or (not runs and not found[1]):
                    break
                assert time.monotonic() < deadline
                time.sleep(0.01)
        finally:
            process.kill()
    assert cpu_of(process.pid) is None
