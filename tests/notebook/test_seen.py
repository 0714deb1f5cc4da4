"""What a notebook has seen outlives its kernel, and counts for no other notebook."""

from __future__ import annotations

import json
import multiprocessing
from pathlib import Path

import pytest

from nbreactive.notebook import seen
from nbreactive.notebook.seen import SeenVersions


def test_each_notebook_has_its_own(tmp_path: Path) -> None:
    notes = SeenVersions(tmp_path / "deep" / "seen.json")
    assert notes.get("d", "a.ipynb", "chat") is None
    notes.put("d", "a.ipynb", {"chat": 1, "orders": 2})
    notes.put("d", "b.ipynb", {"chat": 5})
    notes.put("d", "a.ipynb", {"chat": 3})
    again = SeenVersions(notes.path)
    assert [again.get("d", name, "chat") for name in ("a.ipynb", "b.ipynb", "c.ipynb")] == [3, 5, None]
    assert again.get("d", "a.ipynb", "orders") == 2
    assert again.get("other", "a.ipynb", "chat") is None
    notes.put("other", "a.ipynb", {"chat": 7})
    notes.forget("d")
    assert [notes.get(place, "a.ipynb", "chat") for place in ("d", "other")] == [None, 7]
    assert {path.name for path in notes.path.parent.iterdir()} <= {"seen.json", "seen.json.lock"}


@pytest.mark.parametrize("text", ["", "{", "[1, 2]", '[["d", "a", "chat", "x"]]', '{"d": 1}', "\x00"])
def test_a_damaged_file_is_as_if_nothing_was_seen(tmp_path: Path, text: str) -> None:
    notes = SeenVersions(tmp_path / "seen.json")
    notes.path.write_text(text)
    assert notes.get("d", "a", "chat") is None
    notes.put("d", "a", {"chat": 1})
    assert notes.get("d", "a", "chat") == 1


def test_it_is_bounded_and_never_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seen, "KEPT", 10)
    notes = SeenVersions(tmp_path / "seen.json")
    for number in range(15):
        notes.put("d", f"{number}.ipynb", {"chat": number})
    assert len(json.loads(notes.path.read_text())) == 10
    assert notes.get("d", "14.ipynb", "chat") == 14
    assert notes.get("d", "0.ipynb", "chat") is None
    (tmp_path / "file").write_text("")
    nowhere = SeenVersions(tmp_path / "file" / "seen.json")
    nowhere.put("d", "a", {"chat": 1})
    assert nowhere.get("d", "a", "chat") is None


def _put(path: Path, number: int) -> None:
    SeenVersions(path).put("d", f"{number}.ipynb", {"chat": number})


def test_kernels_at_the_same_time_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "seen.json"
    context = multiprocessing.get_context("spawn")
    many = [context.Process(target=_put, args=(path, number)) for number in range(4)]
    for process in many:
        process.start()
    for process in many:
        process.join(60)
    assert [SeenVersions(path).get("d", f"{number}.ipynb", "chat") for number in range(4)] == [0, 1, 2, 3]
