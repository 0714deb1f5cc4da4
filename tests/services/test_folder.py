from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from nbreactive.services import folder as folder_module
from nbreactive.services.folder import FunctionsFolder
from tests.services.running import Deployment, running


def source(text: str) -> str:
    return f"from nbreactive import query\n\n\n@query\ndef f(ctx):\n    return {text!r}\n"


async def eventually(condition: Callable[[], Any], seconds: float = 20) -> None:
    deadline = asyncio.get_running_loop().time() + seconds
    while not condition():
        assert asyncio.get_running_loop().time() < deadline
        await asyncio.sleep(0.02)


def test_files_are_pushed_as_they_are_saved(tmp_path: Path) -> None:
    async def main() -> None:
        files = tmp_path / "reactive"
        events: list[tuple[str, dict[str, Any]]] = []
        async with running(tmp_path / "data") as deployment:
            deployer = deployment.parts.deployer
            folder = FunctionsFolder(files, deployer, lambda event, level, **fields: events.append((event, fields)))
            await folder.start()
            assert deployer.version == 0
            (files / "admin").mkdir(parents=True)
            (files / "chat.py").write_text(source("one"))
            (files / "admin" / "users.py").write_text(source("users"))
            (files / "not a module.py").write_text("(")
            (files / "__init__.py").write_text("(")
            await eventually(lambda: {m.name for m in deployer.modules} == {"chat", "admin/users"})
            assert await deployment.query("chat:f") == "one" and await deployment.query("admin/users:f") == "users"

            (files / "chat.py").write_text("def broken(:\n")
            (files / "other.py").write_text(source("other"))
            await eventually(lambda: "chat" in folder.problems and any(m.name == "other" for m in deployer.modules))
            assert await deployment.query("chat:f") == "one" and await deployment.query("other:f") == "other"
            assert "chat.py" in folder.problems["chat"]
            told = [fields for event, fields in events if event == "file not deployed"]
            assert [fields["module"] for fields in told] == ["chat"]
            assert told[0]["reason"].count("reactive/chat.py:1:") == 1

            (files / "chat.py").write_text("def broken(:\n")
            await eventually(lambda: [event for event, _ in events].count("file not deployed") == 2)

            (files / "chat.py").write_text(source("two"))
            await eventually(lambda: not folder.problems)
            assert await deployment.query("chat:f") == "two"
            (files / "other.py").unlink()
            await eventually(lambda: all(m.name != "other" for m in deployer.modules))

            await deployment.deploy("cell", source("from a cell"))
            (files / "cell.py").write_text(source("from a file"))
            await eventually(lambda: "cell" in folder.problems)
            assert "belongs to a.ipynb" in folder.problems["cell"]
            assert "`nbreactive deploy reactive --force`" in folder.problems["cell"]
            assert "use --force" not in folder.problems["cell"]
            assert await deployment.query("cell:f") == "from a cell"
            await folder.close()

    asyncio.run(main())


@asynccontextmanager
async def watched(tmp_path: Path, files: dict[str, bytes]) -> AsyncIterator[tuple[Deployment, FunctionsFolder]]:
    for name, content in files.items():
        (tmp_path / "reactive").mkdir(exist_ok=True)
        (tmp_path / "reactive" / name).write_bytes(content)
    async with running(tmp_path / "data") as deployment:
        folder = FunctionsFolder(tmp_path / "reactive", deployment.parts.deployer, lambda event, level, **fields: None)
        try:
            await folder.start()
            yield deployment, folder
        finally:
            await folder.close()


def test_an_endless_import_holds_back_no_other_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder_module, "_IMPORT_SECONDS", 2)

    async def main() -> None:
        async with watched(
            tmp_path, {"a.py": b"while True: pass\n", "good.py": source("good").encode(), "z.py": b"("}
        ) as (deployment, folder):
            await eventually(lambda: folder.problems.keys() == {"a", "z"})
            assert await deployment.query("good:f") == "good"
            assert folder.problems["a"] == "importing reactive/a.py took more than 2 s; do no work at import"

    asyncio.run(main())


def test_a_start_does_not_wait_for_an_endless_import_and_closing_gives_it_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder_module, "_IMPORT_SECONDS", 1000)
    monkeypatch.setattr(folder_module, "_READY_SECONDS", 0.5)

    async def main() -> None:
        async with asyncio.timeout(25), watched(tmp_path, {"a.py": b"while True: pass\n"}) as (deployment, _):
            assert deployment.parts.deployer.version == 0

    asyncio.run(main())


def test_what_is_deployed_serves_while_a_changed_folder_takes_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder_module, "_READY_SECONDS", 1000)

    async def main() -> None:
        async with watched(tmp_path, {"a.py": source("old").encode()}) as (deployment, _):
            assert await deployment.query("a:f") == "old"
        slow = b"import time\ntime.sleep(3)\n" + source("new").encode()
        async with watched(tmp_path, {"a.py": slow}) as (deployment, _):
            assert await deployment.query("a:f") == "old"
            await eventually(lambda: deployment.parts.deployer.version == 2)
            assert await deployment.query("a:f") == "new"

    asyncio.run(main())


def test_one_by_one_in_the_order_in_which_they_need_each_other(tmp_path: Path) -> None:
    async def main() -> None:
        uses = "from nbreactive import query\nfrom reactive.{0} import f as g\n\n@query\ndef f(ctx):\n    return 'of {0}'\n"
        files = {"a.py": uses.format("b"), "b.py": uses.format("c"), "c.py": source("c"), "broken.py": "("}
        async with watched(tmp_path, {name: text.encode() for name, text in files.items()}) as (deployment, folder):
            assert folder.problems.keys() == {"broken"}
            assert await deployment.query("a:f") == "of b"

    asyncio.run(main())


def test_files_are_read_as_python_reads_them(tmp_path: Path) -> None:
    async def main() -> None:
        files = {
            "mark.py": b"\xef\xbb\xbf" + source("Grüße").encode(),
            "latin.py": b"# coding: latin-1\n" + source("Grüße").encode("latin-1"),
            "no_such.py": b"# coding: no-such\n",
            "lines.py": source("lines").replace("\n", "\r\n").encode(),
        }
        async with watched(tmp_path, files) as (deployment, folder):
            assert [await deployment.query(f"{name}:f") for name in ("mark", "latin", "lines")] == [
                "Grüße",
                "Grüße",
                "lines",
            ]
            assert folder.problems.keys() == {"no_such"} and "no-such" in folder.problems["no_such"]

    asyncio.run(main())


def test_what_is_no_module(tmp_path: Path) -> None:
    files = tmp_path / "reactive"
    (files / "folder.py").mkdir(parents=True)
    if hasattr(os, "mkfifo"):
        os.mkfifo(files / "pipe.py")

    async def main() -> None:
        async with (
            asyncio.timeout(25),
            watched(tmp_path, {"class.py": b"", "good.py": source("good").encode()}) as (
                deployment,
                folder,
            ),
        ):
            assert await deployment.query("good:f") == "good"
            assert folder.problems.keys() == {"class"}
            assert "a word of Python's own" in folder.problems["class"]
            assert "rename it, e.g. to class_" in folder.problems["class"]

    asyncio.run(main())


def test_it_is_told_what_rules_close(tmp_path: Path) -> None:
    async def main() -> None:
        files = tmp_path / "reactive"
        files.mkdir()
        (files / "app.py").write_text(
            "from nbreactive import define_schema, define_table, rules\n\n"
            'schema = define_schema({"posts": define_table({}), "people": define_table({})})\n'
            'rules("posts", read=True)\n'
        )
        events: list[tuple[str, str, str]] = []
        async with running(tmp_path / "data") as deployment:
            folder = FunctionsFolder(
                files,
                deployment.parts.deployer,
                lambda event, level, **fields: events.append((event, level, str(fields.get("reason")))),
            )
            await folder.push()
            assert [(event, level) for event, level, _ in events] == [("deployed", "info"), ("row rules", "warning")]
            assert "closed to public functions: people;" in events[1][2]

    asyncio.run(main())
