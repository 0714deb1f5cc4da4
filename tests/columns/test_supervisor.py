from __future__ import annotations

import asyncio
import contextlib
import os
import random
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from nbreactive.columns import _frames as frames
from nbreactive.columns.supervisor import Columns, DocumentStream
from nbreactive.engine.entries import Entry
from nbreactive.errors import DataFolderError, InvalidValue, Unavailable
from nbreactive.values import unpack
from tests.columns._support import NOTES, Database, commits, open_as_user, plain


def table(data: bytes) -> pa.Table:
    return pa.ipc.open_stream(data).read_all()


def flat(stream: DocumentStream) -> dict[tuple[int, bytes], tuple[int, Any]]:
    return {(table, id): (ts, unpack(doc)) for part in stream for table, id, ts, doc in part.documents()}


def live(db: Database) -> dict[tuple[int, bytes], tuple[int, Any]]:
    return {key: (ts, doc) for key, (ts, doc) in db.versions.items() if doc is not None}


@contextlib.asynccontextmanager
async def running(folder: Path, db: Database, **more: Any) -> AsyncIterator[Columns]:
    columns = Columns(folder, read_log=db.read_log, memory_limit="256MB", **more)
    await columns.start()
    try:
        yield columns
    finally:
        await columns.close()


def test_fed_commits_are_rows_and_documents(tmp_path: Path) -> None:
    async def main() -> None:
        db = Database()
        db.define("notes")
        async with running(tmp_path, db) as columns:
            await columns.wait(db.ts)  # what was in the log before
            for n in range(20):
                await columns.feed([db.commit((NOTES, n, {"n": n, "text": str(n)}))])
            rows = table(await columns.rows("notes", at_least=db.ts))
            assert rows.column("n").to_pylist() == list(range(20))
            await columns.feed([db.commit((NOTES, 3, None), (NOTES, 4, {"n": -4}))])
            await columns.wait(db.ts)
            documents, applied = await columns.documents(lambda stream: (flat(stream), stream.applied))
            assert documents == live(db)
            assert applied == db.ts == columns.applied
            with pytest.raises(InvalidValue, match="no table 'other'"):
                await columns.rows("other")
            assert columns.status()["error"] == ""
        with pytest.raises(Unavailable, match="the backend is shutting down"):
            await columns.rows("notes")
        assert not (tmp_path / "store.duckdb.wal").exists()
        with open_as_user(tmp_path) as connection:
            assert connection.sql("SELECT n FROM notes ORDER BY _creationTime").fetchall()[3] == (-4,)

    asyncio.run(main())


def test_closing_brings_in_what_was_not_fed(tmp_path: Path) -> None:
    async def main() -> None:
        db = Database()
        async with running(tmp_path, db) as columns:
            db.define("notes")
            db.commit((NOTES, 1, {"n": 1}))
            assert columns.applied == 0

    asyncio.run(main())
    with open_as_user(tmp_path) as connection:
        assert connection.sql("SELECT n FROM notes").fetchall() == [(1,)]


def test_an_empty_table_has_its_columns(tmp_path: Path) -> None:
    async def main() -> None:
        db = Database()
        fields = {"a": {"fieldType": {"type": "number"}, "optional": False}}
        async with running(tmp_path, db) as columns:
            await columns.feed([db.define("notes", validator={"type": "object", "value": fields})])
            assert table(await columns.rows("notes", db.ts)).column_names == ["_id", "_creationTime", "a"]

    asyncio.run(main())


def test_sigkill_at_any_moment(tmp_path: Path) -> None:
    async def main() -> None:
        rng = random.Random(7)
        db = Database()
        async with running(tmp_path, db, collect=0.001) as columns:
            await columns.feed([db.define("notes")])
            for _ in range(8):
                for _ in range(rng.randrange(5, 40)):
                    doc = rng.choice([None, {"n": 1}, {"n": 2.5, "s": "x"}, {f"f{rng.randrange(30)}": "y"}])
                    await columns.feed([db.commit(*[(NOTES, rng.randrange(60), doc) for _ in range(3)])])
                    await asyncio.sleep(rng.random() * 0.003)
                columns.kill()
                if rng.random() < 0.5:
                    await columns.wait(db.ts)
            rows = table(await columns.rows("notes", at_least=db.ts)).to_pylist()
            found = {row.pop("_id"): plain(row) for row in rows}
            assert found == {id: plain(doc) for id, doc in db.documents().items()}
            assert await columns.documents(flat) == live(db)
            assert columns.restarts >= 4

    asyncio.run(main())


def test_what_does_not_fit_the_buffer_comes_from_the_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nbreactive.columns._backlog._BUFFER", 2000)

    async def main() -> None:
        db = Database()
        async with running(tmp_path, db) as columns:
            await columns.feed([db.define("notes")])
            for n in range(300):
                await columns.feed([db.commit((NOTES, n, {"n": n}))])
                assert columns._backlog.bytes <= 2000
                if n % 50 == 0:
                    await asyncio.sleep(0.01)
            assert len(table(await columns.rows("notes", at_least=db.ts))) == 300

    asyncio.run(main())


def test_documents_again_when_the_process_dies_on_the_way(tmp_path: Path) -> None:
    async def main() -> None:
        db = Database()
        db.define("notes")
        db.commit(*[(NOTES, n, {"text": "x" * 4000}) for n in range(3000)])
        async with running(tmp_path, db) as columns:
            await columns.wait(db.ts)
            streams: list[int] = []

            def consume(stream: DocumentStream) -> dict[tuple[int, bytes], tuple[int, Any]]:
                streams.append(stream.applied)
                if len(streams) == 1:
                    columns.kill()
                return flat(stream)

            assert await columns.documents(consume) == live(db)
            assert len(streams) == 2

            # A consumer that stops early, or fails, leaves nothing in the pipe
            assert len(await columns.documents(lambda stream: next(iter(stream)))) > 0
            with pytest.raises(ZeroDivisionError):
                await columns.documents(lambda stream: 1 // 0)
            assert len(table(await columns.rows("notes"))) == 3000

    asyncio.run(main())


def test_a_file_that_is_no_good_is_set_aside_and_rebuilt(tmp_path: Path) -> None:
    path = tmp_path / "store.duckdb"

    async def main() -> None:
        db = Database()
        db.define("notes")
        for n in range(10):
            db.commit(*[(NOTES, n * 100 + i, {"text": os.urandom(500).hex()}) for i in range(100)])
        path.write_bytes(b"not a database" * 5000)
        async with running(tmp_path, db) as columns:
            await columns.wait(db.ts)
        # A header that opens, above blocks that are not what they were
        content = bytearray(path.read_bytes())
        content[len(content) // 2 :] = os.urandom(len(content) - len(content) // 2)
        path.write_bytes(content)
        async with running(tmp_path, db) as columns:
            assert len(table(await columns.rows("notes", db.ts))) == 1000
            assert await columns.documents(flat) == live(db)

    asyncio.run(main())
    asides = {aside.name for aside in tmp_path.glob("*.damaged-*")}
    assert asides == {"store.duckdb.damaged-1", "store.duckdb.damaged-2"}


def test_a_file_that_kills_whoever_opens_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "killed.py"
    script.write_text(
        "import os, pathlib\n"
        f"if pathlib.Path({str(tmp_path / 'store.duckdb')!r}).exists():\n"
        "    import sys; from nbreactive.columns import _frames as frames\n"
        "    _, request = frames.read(sys.stdin.buffer, frames.requests)\n"
        "    if not request.suspect: os._exit(139)\n"
        "    os.rename(request.path, request.path + '.damaged-1')\n"
        "    import io; buffer = io.BytesIO(); frames.write(buffer, request)\n"
        "    real = sys.stdin.buffer; frames_read = frames.read; first = [(0, request)]\n"
        "    frames.read = lambda file, decoder: first.pop() if first else frames_read(file, decoder)\n"
        "from nbreactive.columns.process import main; main()\n"
    )
    real = subprocess.Popen
    monkeypatch.setattr(
        "nbreactive.columns._child.subprocess.Popen", lambda args, **more: real([args[0], str(script)], **more)
    )

    async def main() -> None:
        db = Database()
        db.define("notes")
        (tmp_path / "store.duckdb").write_bytes(b"")
        async with running(tmp_path, db) as columns:
            assert len(table(await columns.rows("notes", db.ts))) == 0
            assert columns.restarts == 3

    asyncio.run(main())


def test_callers_are_not_told_where_the_data_are(tmp_path: Path) -> None:
    async def main() -> None:
        columns = Columns(tmp_path, read_log=Database().read_log)
        columns.error = f"IO Error: cannot open {tmp_path / 'store.duckdb'}"
        columns._ahead = True  # as it is when nothing more is tried
        with pytest.raises(Unavailable, match=r"cannot open the data folder.store\.duckdb") as refused:
            await columns.sql("SELECT 1")
        assert str(tmp_path) not in str(refused.value)

    asyncio.run(main())


def test_a_store_ahead_of_the_log_is_refused_and_left_alone(tmp_path: Path) -> None:
    async def main() -> None:
        db = Database()
        db.define("notes")
        db.commit((NOTES, 1, {"n": 1}))
        async with running(tmp_path, db) as columns:
            await columns.wait(db.ts)
        other = Database()
        other.define("notes")
        for tail in (0, other.ts):
            columns = Columns(tmp_path, read_log=other.read_log)
            await columns.start(tail=tail)
            try:
                with pytest.raises(DataFolderError, match=r"the log is older than store\.duckdb.*Nothing was changed"):
                    await columns.opened(30)
                with pytest.raises(Unavailable, match=r"the log is older than store\.duckdb"):
                    await columns.documents(flat)
            finally:
                await columns.close()
        async with running(tmp_path, db) as columns:
            assert len(table(await columns.rows("notes", db.ts))) == 1
            assert columns.status()["restarts"] == 0

    asyncio.run(main())
    assert [file.name for file in tmp_path.iterdir()] == ["store.duckdb"]


def test_a_process_that_cannot_work_is_tried_again(tmp_path: Path) -> None:
    async def main() -> None:
        db = Database()
        db.define("notes")
        (tmp_path / "store.duckdb").mkdir()  # cannot be opened; nothing that setting aside would mend
        columns = Columns(tmp_path, read_log=db.read_log)
        await columns.start()
        try:
            assert columns.status()["error"]
            with pytest.raises(Unavailable, match="behind"):
                await columns.wait(db.ts, seconds=0.01)
            (tmp_path / "store.duckdb").rmdir()
            assert len(table(await columns.rows("notes", db.ts))) == 0
            assert columns.status()["error"] == ""
        finally:
            await columns.close()

    asyncio.run(main())


def test_a_full_disk_starts_the_process_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A limit on the size of files is what a process sees of a full disk, without filling one."""
    script = tmp_path / "limited.py"
    limit = tmp_path / "limit"
    limit.write_text("1500000")
    script.write_text(
        "import resource, signal, sys, pathlib\n"
        f"size = int(pathlib.Path({str(limit)!r}).read_text())\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "size and resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))\n"
        "import runpy; runpy.run_module('nbreactive.columns.process', run_name='__main__')\n"
    )
    real = subprocess.Popen

    def popen(args: list[str], **more: Any) -> Any:
        return real([args[0], str(script)], **more)

    monkeypatch.setattr("nbreactive.columns._child.subprocess.Popen", popen)

    async def main() -> None:
        db = Database()
        db.define("notes")
        async with running(tmp_path, db) as columns:
            await columns.wait(db.ts)
            for n in range(40):
                await columns.feed([db.commit((NOTES, n, {"blob": os.urandom(100_000)}))])
            async with asyncio.timeout(30):
                while columns.restarts < 2:
                    await asyncio.sleep(0.01)
            assert columns.status()["error"]
            limit.write_text("0")
            assert len(table(await columns.rows("notes", at_least=db.ts))) == 40

    asyncio.run(main())


@pytest.mark.parametrize(
    ("failure", "traceback"),
    [(OSError("input/output error"), True), (DataFolderError("its file was deleted"), False)],
)
def test_failure_to_read_the_log_is_tried_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, failure: Exception, traceback: bool
) -> None:
    async def main() -> None:
        db = Database()
        db.define("notes")
        tries: list[int] = []

        async def read_log(after: int) -> AsyncIterator[Sequence[Entry]]:
            tries.append(after)
            if len(tries) < 3:
                raise failure
            async for entries in db.read_log(after):
                yield entries

        columns = Columns(tmp_path, read_log=read_log)
        await columns.start()
        try:
            await columns.wait(db.ts)
            assert len(tries) == 3
        finally:
            await columns.close()

    asyncio.run(main())
    assert str(failure) in caplog.text
    assert any(record.exc_info for record in caplog.records) == traceback


def test_the_backend_imports_neither_duckdb_nor_arrow() -> None:
    code = "import sys, nbreactive.columns.supervisor; print({'duckdb', 'pyarrow'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_frames_have_a_largest_length() -> None:
    import io

    from nbreactive.errors import ProtocolError

    with pytest.raises(ProtocolError, match="limit"):
        frames.read(io.BytesIO(b"\xff\xff\xff\xff\0\0\0\0"), frames.replies)
    with pytest.raises(EOFError):
        frames.read(io.BytesIO(b"\x05\0\0\0\0\0\0\0ab"), frames.replies)


def test_a_process_that_died_goes_on_with_its_store_although_the_log_was_shorter_at_the_start(tmp_path: Path) -> None:
    async def main() -> None:
        db = Database()
        db.define("notes")
        columns = Columns(tmp_path, read_log=db.read_log)
        await columns.start(tail=db.ts)
        try:
            db.commit((NOTES, 1, {"n": 1}))
            columns._backlog.drop()
            await columns.feed([])
            await columns.wait(db.ts)
            columns.kill()
            db.commit((NOTES, 2, {"n": 2}))
            columns._backlog.drop()
            await columns.feed([])
            assert len(table(await columns.rows("notes", db.ts))) == 2
        finally:
            await columns.close()

    asyncio.run(main())
    assert not list(tmp_path.glob("*.damaged*"))


def test_the_end_of_its_pipe_ends_the_process_while_it_works(tmp_path: Path) -> None:
    db = Database()
    request = frames.Feed(
        commits([db.define("notes"), *(db.commit((NOTES, n, {"text": "x" * 5000})) for n in range(4000))]), hurry=True
    )
    opened = frames.Open(str(tmp_path / "store.duckdb"), "256MB", 1)
    command = [sys.executable, "-m", "nbreactive.columns.process"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        frames.write(process.stdin, opened)
        assert isinstance(frames.read(process.stdout, frames.replies)[1], frames.Ready)
        frames.write(process.stdin, request)
        process.stdin.close()
        process.wait(60)
        assert process.stdout.read() == b""  # it did not answer any more
    with open_as_user(tmp_path) as connection:
        assert connection.sql("SELECT applied FROM nbreactive.state").fetchall() == [(0,)]


def test_another_folder_in_the_place_of_its_own_is_left_alone(tmp_path: Path) -> None:
    async def main() -> None:
        db = Database()
        data = tmp_path / "data"
        data.mkdir()
        async with running(data, db, collect=0.001) as columns:
            await columns.feed([db.define("notes"), db.commit((NOTES, 1, {"n": 1}))])
            await columns.wait(db.ts)
            data.rename(tmp_path / "moved")
            data.mkdir()
            await columns.feed([db.commit((NOTES, 2, {"n": 2}))])
            async with asyncio.timeout(60):
                while columns.restarts < 2:  # a new process does not take it either
                    await asyncio.sleep(0.01)
            assert "another folder" in columns.error
            assert list(data.iterdir()) == []
        assert list(data.iterdir()) == []

    asyncio.run(main())
