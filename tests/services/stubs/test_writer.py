"""When the generated files are written, and when not."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest
from watchfiles import Change

from nbreactive.functions.specs import FunctionSpec, TableSpec
from nbreactive.services import folder as folder_module
from nbreactive.services.folder import FunctionsFolder
from nbreactive.services.stubs import write_stubs
from tests.served import Served
from tests.services.running import running
from tests.services.stubs.project import FUNCTIONS

SEND = FunctionSpec("chat:send", "mutation", "public", {"type": "object", "value": {}}, doc="lone \ud800 surrogate")
SOURCE = "from nbreactive import query\n\n@query\ndef f(ctx, {}: str): ...\n"


def stub(folder: Path) -> str:
    try:
        return (folder / "reactive" / "_generated" / "api.pyi").read_text("utf-8")
    except FileNotFoundError:
        return ""


async def eventually(condition: Any) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.01)


def test_only_what_changed_is_written_and_nothing_is_left_behind(tmp_path: Path) -> None:
    first = write_stubs([], [], tmp_path)
    names = {
        "__init__.py",
        "api.py",
        "api.pyi",
        "data_model.py",
        "server.py",
        "server.pyi",
        "api.js",
        "api.d.ts",
        "dataModel.d.ts",
    }
    assert {path.name for path in first} == names
    assert write_stubs([], [], tmp_path) == []
    (tmp_path / "_generated" / "mine.txt").write_text("kept")
    assert {path.name for path in write_stubs([SEND], [], tmp_path)} == {"api.pyi", "api.d.ts"}
    assert {path.name for path in (tmp_path / "_generated").iterdir()} == names | {"mine.txt"}


def test_a_file_that_cannot_be_replaced_stays_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_stubs([], [], tmp_path)
    before = (tmp_path / "_generated" / "api.pyi").read_bytes()

    def fails(self: Path, target: Path) -> Path:
        raise OSError("no")

    with monkeypatch.context() as patched, pytest.raises(OSError, match="no"):
        patched.setattr(Path, "replace", fails)
        write_stubs([SEND], [], tmp_path)
    assert (tmp_path / "_generated" / "api.pyi").read_bytes() == before
    assert not [path for path in (tmp_path / "_generated").iterdir() if path.suffix == ".tmp"]


def test_files_and_cells_alike_are_in_the_stubs_when_their_deploy_is_answered(tmp_path: Path) -> None:
    async def main() -> None:
        folder = tmp_path / "reactive"
        async with running(tmp_path / "data") as deployment:
            deployer = deployment.parts.deployer
            watched = FunctionsFolder(folder, deployer, lambda *event, **fields: None)
            await watched.start()
            try:
                await deployment.deploy("cell", SOURCE.format("before"))
                assert not folder.exists(), "nobody asked for a folder"
                folder.mkdir()
                (folder / "file.py").write_text(SOURCE.format("saved"))
                await eventually(lambda: "saved: str" in stub(tmp_path) and "before: str" in stub(tmp_path))
                await deployment.deploy("cell", SOURCE.format("after"))
                assert "after: str" in stub(tmp_path) and "before: str" not in stub(tmp_path)
                times = {path.name: path.stat().st_mtime_ns for path in (folder / "_generated").iterdir()}
                await deployment.deploy("cell", SOURCE.format("after"))
                await watched.push()
                assert times == {path.name: path.stat().st_mtime_ns for path in (folder / "_generated").iterdir()}
                assert {module.name for module in deployer.modules} == {"cell", "file"}, "stubs are no modules"
            finally:
                await watched.close()
            (folder / "_generated" / "api.pyi").unlink()
        async with running(tmp_path / "data") as deployment:
            watched = FunctionsFolder(folder, deployment.parts.deployer, lambda *event, **fields: None)
            await watched.start()
            try:
                await eventually(lambda: "after: str" in stub(tmp_path))  # a start writes what is missing
            finally:
                await watched.close()

    asyncio.run(main())


def test_stubs_that_cannot_be_written_are_reported_and_refuse_nothing(tmp_path: Path) -> None:
    (tmp_path / "reactive").mkdir()
    (tmp_path / "reactive" / "_generated").write_text("in the way")
    events: list[tuple[str, str]] = []

    async def main() -> None:
        async with running(tmp_path / "data") as deployment:
            watched = FunctionsFolder(
                tmp_path / "reactive",
                deployment.parts.deployer,
                lambda event, level, **fields: events.append((event, level)),
            )
            await watched.start()
            for version in (1, 2):
                done = await deployment.deploy("cell", SOURCE.format(f"v{version}"))
                assert done.version == version
            await watched.close()

    asyncio.run(main())
    assert events == [("typed stubs not written", "warning")]


def test_writing_stubs_wakes_no_watcher(tmp_path: Path) -> None:
    watches = folder_module._Modules()
    assert watches(Change.modified, str(tmp_path / "reactive" / "chat.py"))
    for name in ("api.py", "data_model.py", "api.pyi", ".api.py.1.tmp"):
        assert not watches(Change.modified, str(tmp_path / "reactive" / "_generated" / name))


def test_the_function_list_of_a_backend_elsewhere_makes_the_same_files(tmp_path: Path) -> None:
    with Served(tmp_path / "there", FUNCTIONS) as backend:
        found = backend.fetch("/api/admin/functions", admin=True)
        public = backend.fetch("/api/admin/functions")
    assert "tables" not in public, "the schema is for those who deploy"
    functions = msgspec.convert(found["functions"], list[FunctionSpec])
    tables = msgspec.convert(found["tables"], list[TableSpec])
    written = write_stubs(functions, tables, tmp_path / "here", schema_validation=found["schema_validation"])
    assert len(written) == 9
    for path in written:
        assert path.read_bytes() == (backend.functions / "_generated" / path.name).read_bytes(), path.name
