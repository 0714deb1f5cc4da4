"""Reset: all or nothing, whatever happens on the way."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from nbreactive.server.data_folder import DataFolder
from nbreactive.server.reset import complete, discard, unfinished
from tests.served import Served

MODULE = """
from nbreactive import mutation, query

@query
def texts(ctx):
    return [row["text"] for row in ctx.db.query("texts").collect()]

@mutation
def add(ctx, text: str):
    ctx.db.insert("texts", {"text": text})
"""
RESET = {"confirm": "default"}


class Killed(BaseException):
    """Stands for the end of the process."""


def filled(folder: Path) -> Path:
    (folder / "log").mkdir(parents=True)
    (folder / "log" / "1.seg").write_text("entries")
    (folder / "index").mkdir()
    (folder / "index" / "data.mdb").write_text("rows")
    (folder / "store.duckdb").write_text("columns")
    (folder / "store.duckdb.wal").write_text("more")
    (folder / "admin.key").write_text("key")
    return folder


def everything(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def breaks_at(step: int, error: Callable[[], BaseException], monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the renames go well until the one of the number ``step``, which does not, once."""
    rename, done = Path.rename, iter(range(1000))

    def renamed(self: Path, target: Path) -> Path:
        if next(done) == step:
            raise error()
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", renamed)


@pytest.mark.parametrize("step", range(5))
def test_a_reset_that_is_killed_is_gone_on_with(step: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = filled(tmp_path / "data")
    with monkeypatch.context() as patched:
        breaks_at(step, Killed, patched)
        with pytest.raises(Killed):
            discard(data)
    assert unfinished(data)
    DataFolder(data).close()
    left = everything(data)
    assert not unfinished(data)
    assert {"admin.key"} <= set(left) <= {"admin.key", "format", "lock"}


def test_what_was_written_after_a_reset_stays_though_the_old_data_is_not_deleted_yet(tmp_path: Path) -> None:
    data = filled(tmp_path)
    (data / "discarded-0a0a0a0a").mkdir()
    (data / "discarded-0a0a0a0a" / "log").write_text("old")
    before = everything(data)
    complete(data)
    assert everything(data) == {name: text for name, text in before.items() if not name.startswith("discarded")}


@pytest.mark.parametrize("step", range(4))
def test_a_reset_that_fails_leaves_all_as_it_was(step: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = filled(tmp_path)
    before = everything(data)
    with monkeypatch.context() as patched:
        breaks_at(step, lambda: PermissionError(13, "in use"), patched)
        with pytest.raises(PermissionError):
            discard(data)
    assert everything(data) == before
    assert not unfinished(data)
    discard(data)
    assert set(everything(data)) == {"admin.key"}


def test_two_resets_at_once_and_one_that_was_killed(tmp_path: Path) -> None:
    with Served(tmp_path, {"m": MODULE}) as backend, ThreadPoolExecutor(2) as both:
        backend.call("mutation", "m:add", text="one")
        asked = [both.submit(backend.fetch, "/api/admin/reset", RESET, admin=True) for _ in range(2)]
        assert [one.result() for one in asked] == [{"reset": True}, {"reset": True}]
        assert backend.call("query", "m:texts") == []
        backend.call("mutation", "m:add", text="two")
        backend.kill()
        (backend.data / "reset").mkdir()
        (backend.data / "log").rename(backend.data / "reset" / "log")
        backend.start()
        assert backend.call("query", "m:texts") == []
        assert not (backend.data / "reset").exists()


def test_a_reset_that_cannot_be_deletes_nothing_and_the_backend_lives(tmp_path: Path) -> None:
    with Served(tmp_path, {"m": MODULE}) as backend:
        backend.call("mutation", "m:add", text="one")
        (backend.data / "reset").write_text("in the way")
        said = backend.fetch("/api/admin/reset", RESET, admin=True)
        assert "nothing was deleted" in said["message"]
        assert backend.call("query", "m:texts") == ["one"]
        (backend.data / "reset").unlink()
        assert backend.fetch("/api/admin/reset", RESET, admin=True) == {"reset": True}


def test_a_backend_that_cannot_open_its_data_again_ends(tmp_path: Path) -> None:
    with Served(tmp_path, {"m": MODULE}) as backend:
        backend.call("mutation", "m:add", text="one")
        (backend.data / "cursor.key").unlink()
        (backend.data / "cursor.key").mkdir()
        process = backend.process
        assert process is not None
        backend.fetch("/api/admin/reset", RESET, admin=True)
        process.wait(60)
        assert backend.stop() == 1
        (backend.data / "cursor.key").rmdir()
        backend.start()
        assert backend.call("query", "m:texts") == []


def test_who_is_met_by_a_reset_is_told_to_come_again(tmp_path: Path) -> None:
    with Served(tmp_path, {"m": MODULE}) as backend, ThreadPoolExecutor(10) as several:
        going = True

        def write() -> list[str]:
            said = []
            while going:
                answer = backend.ask("mutation", "m:add", text="one")
                said.append(answer.get("code") or answer["status"])
            return said

        def deploy(number: int) -> str:
            module = {"name": "m", "source": f"{MODULE}# {number}", "origin": {"kind": "file", "path": "m.py"}}
            answer = backend.fetch("/api/admin/deploy", {"modules": [module], "force": True}, admin=True)
            return answer.get("code", "deployed")

        writing = [several.submit(write) for _ in range(4)]
        deploying = []
        for number in range(4):
            deploying.append(several.submit(deploy, number))
            assert backend.fetch("/api/admin/reset", RESET, admin=True) == {"reset": True}
        going = False
        assert {code for each in writing for code in each.result()} <= {"success", "Unavailable", "error"}
        assert {each.result() for each in deploying} <= {"deployed", "Unavailable", "DeployRefused"}
    assert "Traceback" not in backend.log
