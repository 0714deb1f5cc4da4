from __future__ import annotations

import random
import threading
import urllib.request
from collections.abc import Callable, Generator
from pathlib import Path

import duckdb
import lmdb
import pytest

from nbreactive.cli.main import main
from nbreactive.errors import DataFolderError
from nbreactive.services.doctor import Report, examine_folder
from tests.cli.test_backup import NOTES, nbreactive
from tests.served import KEY, Served

WORD = "a word that is nowhere else"


@pytest.fixture(scope="module")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with some history, closed."""
    folder = tmp_path_factory.mktemp("healthy")
    with Served(folder, {"notes": NOTES}) as backend:
        for n in range(40):
            backend.call("mutation", "notes:write", n=n, text=f"{n} {random.Random(n).randbytes(200).hex()}")
        backend.call("mutation", "notes:write", n=7, text=WORD)
        backend.call("mutation", "notes:drop", n=3)
    return folder / "data"


@pytest.fixture
def data(healthy: Path, tmp_path: Path) -> Generator[Path]:
    """The same files under another name: the inode of the index stays, so that it is believed."""
    moved = healthy.rename(tmp_path / "data")
    kept = {path: path.read_bytes() for path in moved.rglob("*") if path.is_file()}
    yield moved
    for path, content in kept.items():
        path.write_bytes(content)
    moved.rename(healthy)


def flip(path: Path, offset: int) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 0x01]))


def parts(report: Report) -> set[str]:
    return {problem.part for problem in report.problems}


def test_a_folder_in_which_all_is_well(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = examine_folder(data)
    assert report.healthy and report.tables["notes"] == 39 and not report.notes
    assert main(["doctor", str(data)]) == 0
    said = capsys.readouterr().out
    assert "all is well" in said and "notes" in said


def test_a_flipped_byte_anywhere_in_the_log_is_found(data: Path) -> None:
    (segment,) = (data / "log").glob("*.log")
    for offset in random.Random(1).sample(range(segment.stat().st_size), 12):
        flip(segment, offset)
        report = examine_folder(data)
        assert "log" in parts(report), offset
        assert str(segment) in report.problems[0].what and "backup" in report.problems[0].fix
        flip(segment, offset)
    assert examine_folder(data).healthy


def test_a_flipped_byte_in_the_row_index_is_found(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = data / "index" / "data.mdb"
    content = file.read_bytes()
    places = [place for place in range(len(content)) if content.startswith(WORD.encode(), place)]
    assert places
    for place in places:
        flip(file, place + 5)
    report = examine_folder(data)
    assert parts(report) == {"index"}
    assert "'notes'" in report.problems[0].what
    assert main(["doctor", str(data), "--json"]) == 2
    assert '"healthy":false' in capsys.readouterr().out


def test_an_entry_of_an_index_that_is_missing_is_found(data: Path) -> None:
    with lmdb.open(str(data / "index"), max_dbs=8) as env:
        entries = env.open_db(b"entries")
        with env.begin(write=True) as txn, txn.cursor(entries) as cursor:
            assert cursor.last()
            assert cursor.delete()
    report = examine_folder(data)
    assert parts(report) == {"index"} and "notes" in report.problems[0].what


def test_a_flipped_byte_in_any_used_block_of_the_store_is_found(data: Path) -> None:
    file = data / "store.duckdb"
    with duckdb.connect(str(file), read_only=True) as connection:
        rows = connection.execute(
            "SELECT DISTINCT block_id FROM pragma_storage_info('nbreactive.history') WHERE block_id >= 0"
            " UNION SELECT DISTINCT block_id FROM pragma_storage_info('main.notes') WHERE block_id >= 0"
        ).fetchall()
        size = connection.execute("SELECT block_size FROM pragma_database_size()").fetchone()
    assert rows and size
    for (block,) in rows:
        place = 3 * 4096 + block * int(size[0]) + 100
        flip(file, place)
        report = examine_folder(data)
        assert parts(report) == {"store.duckdb"}, block
        assert "made anew" in report.problems[0].fix
        flip(file, place)
    assert examine_folder(data).healthy


def test_documents_that_somebody_changed_in_the_store_are_found(data: Path) -> None:
    with duckdb.connect(str(data / "store.duckdb")) as connection:
        connection.execute(
            "UPDATE nbreactive.history SET ts = ts + 1 WHERE ts = (SELECT min(ts) FROM nbreactive.history WHERE table_number > 10000)"
        )
        connection.execute("DELETE FROM main.notes WHERE n = 9")
    said = [problem.what for problem in examine_folder(data).problems]
    assert any("'notes' has 38 rows instead of 39" in what for what in said)


def test_what_is_absent_is_a_note_and_a_folder_without_a_log_is_none(data: Path, tmp_path: Path) -> None:
    (data / "store.duckdb").unlink()
    (data / "index" / "marker.json").unlink()
    report = examine_folder(data)
    assert report.healthy and len(report.notes) == 2
    with pytest.raises(DataFolderError, match="not a data folder"):
        examine_folder(tmp_path)


def test_a_backend_is_examined_while_it_serves_and_after_it_was_killed(tmp_path: Path) -> None:
    with Served(tmp_path, {"notes": NOTES}) as backend:
        for n in range(10):
            backend.call("mutation", "notes:write", n=n, text=str(n))
        report = nbreactive("doctor", backend.data, "--admin-key", KEY, "--json")
        assert report["healthy"] and report["tables"]["notes"] == 10
        assert "admin key" in nbreactive("doctor", backend.url, status=1)
        (segment,) = (backend.data / "log").glob("*.log")
        content = segment.read_bytes()
        flip(segment, content.find(b"text") + 1)
        said = nbreactive("doctor", backend.data, "--admin-key", KEY, status=2)
        assert "PROBLEM       log" in said
        flip(segment, content.find(b"text") + 1)
        backend.kill()
        assert nbreactive("doctor", backend.data, "--json")["healthy"]


def test_nothing_is_wrong_because_others_write_meanwhile_and_history_goes(tmp_path: Path) -> None:
    with Served(tmp_path, {"notes": NOTES}) as backend:
        for n in range(40):
            backend.call("mutation", "notes:write", n=n, text=str(n))
        stop = threading.Event()

        def again_and_again(what: Callable[[int], object]) -> None:
            count = 0
            while not stop.is_set():
                what(count)
                count += 1

        def write(n: int) -> None:
            backend.call("mutation", "notes:write", n=n % 50, text=f"again {n}")

        def look(_: int) -> None:  # store.duckdb is brought up to date for it
            request = urllib.request.Request(
                f"{backend.url}/api/admin/rows?table=notes", headers={"Authorization": f"Convex {KEY}"}
            )
            with urllib.request.urlopen(request, timeout=60) as answer:
                assert answer.read()

        def forget(_: int) -> None:
            assert "horizon" in backend.fetch("/api/admin/retention", {"keep": "0s"}, admin=True)

        threads = [threading.Thread(target=again_and_again, args=(what,)) for what in (write, look, forget)]
        for thread in threads:
            thread.start()
        try:
            for _ in range(3):
                report = nbreactive("doctor", backend.data, "--admin-key", KEY, "--json")
                assert report["healthy"], report["problems"]
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        assert nbreactive("doctor", backend.data, "--admin-key", KEY, "--json")["healthy"]
