from __future__ import annotations

import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from nbreactive.errors import DataFolderError
from nbreactive.server import _drives, data_folder
from nbreactive.server.data_folder import DataFolder, running_backend
from tests.served import Served


def test_one_backend_at_a_time_also_from_another_process_case_45(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path / "data")
    folder.announce("http://127.0.0.1:1", "0")
    running = running_backend(folder.path)
    assert running is not None and running.url == "http://127.0.0.1:1"
    with pytest.raises(DataFolderError, match=f"process id {running.pid} at http://127.0.0.1:1"):
        DataFolder(folder.path)
    script = "import sys; from pathlib import Path; from nbreactive.server.data_folder import DataFolder; DataFolder(Path(sys.argv[1]))"
    other = subprocess.run(
        [sys.executable, "-c", script, str(folder.path)], capture_output=True, text=True, check=False
    )
    assert other.returncode != 0 and "in use by the backend" in other.stderr
    folder.close()
    assert running_backend(folder.path) is None
    DataFolder(folder.path).close()


@pytest.mark.skipif(sys.platform == "win32", reason="an open file cannot be deleted there")
def test_one_backend_at_a_time_although_somebody_deleted_the_lock_file_case_45(tmp_path: Path) -> None:
    backend = Served(tmp_path, {"m": COUNTER})
    with backend:
        (backend.data / "lock").unlink()
        other = subprocess.run(
            [*backend.command(), "--port", "0"], capture_output=True, text=True, check=False, timeout=60
        )
        assert other.returncode == 1 and not other.stdout and "in use by the backend" in other.stderr
        backend.call("mutation", "m:add", n=1)
        (backend.data / "lock").unlink(missing_ok=True)
        with pytest.raises(DataFolderError, match="in use by the backend"):
            DataFolder(backend.data)
        backend.call("mutation", "m:add", n=2)
        backend.kill()
        backend.start()  # nothing that the killed one started holds the folder
        assert backend.call("query", "m:numbers") == [1, 2]


def test_the_format_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(descriptor: int) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(data_folder.os, "fsync", interrupted)
        with pytest.raises(KeyboardInterrupt):
            DataFolder(tmp_path)
    assert not (tmp_path / "format").exists()
    DataFolder(tmp_path).close()
    assert (tmp_path / "format").read_text() == f"{data_folder.FORMAT}\n"


def test_a_folder_of_an_older_version_is_marked_as_one_of_this_version(tmp_path: Path) -> None:
    DataFolder(tmp_path).close()
    (tmp_path / "format").write_text("1\n")
    DataFolder(tmp_path).close()
    assert (tmp_path / "format").read_text() == f"{data_folder.FORMAT}\n"


def test_another_format_is_refused_and_left_alone_case_45(tmp_path: Path) -> None:
    DataFolder(tmp_path).close()
    (tmp_path / "format").write_text("99\n")
    for _ in range(2):
        with pytest.raises(DataFolderError, match="format '99'"):
            DataFolder(tmp_path)


def test_the_admin_key_is_private_and_stays(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path)
    key = folder.admin_key()
    assert len(key) > 40 and folder.admin_key() == key
    assert stat.S_IMODE((tmp_path / "admin.key").stat().st_mode) == 0o600
    folder.close()


def test_a_file_where_the_folder_should_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataFolderError, match="cannot be made"):
        DataFolder(tmp_path / "file" / "data")


def test_network_drives_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data_folder, "network_file_system", lambda folder: "nfs4")
    with pytest.raises(DataFolderError, match=r"network drive \(nfs4\).*--data"):
        DataFolder(tmp_path)


def test_the_innermost_mount_decides() -> None:
    mounts = [
        ("/", "ext4"),
        ("/home", "nfs4"),
        ("/home/ada/local", "xfs"),
        ("/homes", "cifs"),
        ("/mnt", "ext4"),
        ("/mnt", "fuse.sshfs"),
    ]
    assert _drives.kind_of_mount(Path("/home/ada/data"), mounts) == "nfs4"
    assert _drives.kind_of_mount(Path("/home/ada/local/data"), mounts) == "xfs"
    assert _drives.kind_of_mount(Path("/homeless"), mounts) == "ext4"
    assert _drives.kind_of_mount(Path("/mnt/x"), mounts) == "fuse.sshfs"


def test_this_machine_is_asked(tmp_path: Path) -> None:
    assert _drives.network_file_system(tmp_path) is None


COUNTER = """
from nbreactive import mutation, query

@mutation
def add(ctx, n: int):
    ctx.db.insert("numbers", {"n": n})

@query
def numbers(ctx):
    return sorted(row["n"] for row in ctx.db.query("numbers").collect())
"""


def _contents(folder: Path) -> dict[str, int]:
    return {
        str(file.relative_to(folder)): file.stat().st_size
        for file in folder.rglob("*")
        if file.is_file() and file.name.startswith(("store", "0"))
    }


def _refused(backend: Served) -> str:
    before = _contents(backend.data)
    done = subprocess.run(backend.command(), capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1 and not done.stdout
    assert "Traceback" not in done.stderr and done.stderr.count("\n") == 1
    assert _contents(backend.data) == before
    return done.stderr


def test_a_log_that_is_older_than_the_rest_is_refused_and_nothing_is_changed(tmp_path: Path) -> None:
    backend = Served(tmp_path, {"m": COUNTER})
    log, index, aside = backend.data / "log", backend.data / "index", tmp_path / "aside"
    with backend:
        backend.call("mutation", "m:add", n=1)
    shutil.copytree(log, tmp_path / "older")
    with backend:
        backend.call("mutation", "m:add", n=2)
    log.rename(tmp_path / "good")

    # the row index is lost, too, or is a copy, which is not believed
    index.rename(aside)
    for lost in (True, False):
        if not lost:
            shutil.copytree(aside, index)
        assert "log is empty, store.duckdb has commits up to" in _refused(backend)
        shutil.copytree(tmp_path / "older", log, dirs_exist_ok=True)
        assert re.search(r"the log is older than store\.duckdb.*ends at 20.*Restore", _refused(backend))
        shutil.rmtree(log)
    shutil.rmtree(index)

    # a good one
    aside.rename(index)
    shutil.copytree(tmp_path / "older", log)
    assert "the log is older than the row index" in _refused(backend)
    shutil.rmtree(log)
    (tmp_path / "good").rename(log)
    with backend:
        assert backend.call("query", "m:numbers") == [1, 2]

    # what the messages offer: the log alone
    shutil.rmtree(index)
    shutil.rmtree(log)
    shutil.copytree(tmp_path / "older", log)
    (backend.data / "store.duckdb").rename(tmp_path / "store.duckdb")
    with backend:
        assert backend.call("query", "m:numbers") == [1]


@pytest.mark.skipif(sys.platform == "win32", reason="an open file cannot be deleted there")
def test_a_data_folder_that_is_deleted_takes_no_more_writes_and_says_so_at_the_end(tmp_path: Path) -> None:
    backend = Served(tmp_path, {"m": COUNTER}).start()
    try:
        backend.call("mutation", "m:add", n=1)
        shutil.rmtree(backend.data)
        for _ in range(2):
            answer = backend.ask("mutation", "m:add", n=2)
            assert answer["status"] == "error" and "were deleted while the backend was running" in str(answer)
        assert backend.call("query", "m:numbers") == [1]
        assert not backend.data.exists()
    finally:
        status = backend.stop()
    assert status == 1
    assert "Traceback" not in backend.log
    assert not backend.data.exists()
    assert "was deleted" in backend.log.splitlines()[-1]
