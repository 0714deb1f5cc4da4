from __future__ import annotations

from tests.simulation.checker import Committed, find_cycle


def test_serial_history_is_fine() -> None:
    history = [
        Committed("a", {"x": None}, 0, 1),
        Committed("b", {"x": "a"}, 2, 3),
        Committed("c", {"x": "b"}, 4, 5),
    ]
    assert find_cycle(history, {"x": ["a", "b"]}) is None


def test_lost_update_is_found() -> None:
    history = [Committed("a", {"x": None}), Committed("b", {"x": None})]
    assert find_cycle(history, {"x": ["a", "b"]}) is not None


def test_write_skew_is_found() -> None:
    history = [Committed("a", {"x": None, "y": None}), Committed("b", {"x": None, "y": None})]
    assert set(find_cycle(history, {"x": ["a"], "y": ["b"]}) or ()) == {"a", "b"}


def test_stale_read_is_found_by_real_time_alone() -> None:
    history = [Committed("w", {}, 0, 1), Committed("r", {"x": None}, 2, 3)]
    assert set(find_cycle(history, {"x": ["w"]}) or ()) == {"w", "r"}
    concurrent = [Committed("w", {}, 0, 2.5), Committed("r", {"x": None}, 2, 3)]
    assert find_cycle(concurrent, {"x": ["w"]}) is None


def test_unanswered_transactions_may_come_late() -> None:
    history = [Committed("w", {}, 0), Committed("r", {"x": None}, 2, 3), Committed("s", {"x": "w"}, 4, 5)]
    assert find_cycle(history, {"x": ["w"]}) is None


def test_long_histories_are_no_problem() -> None:
    count = 20_000
    history = [Committed(n, {"x": n - 1 if n else None}, n, n + 0.5) for n in range(count)]
    assert find_cycle(history, {"x": list(range(count))}) is None
