from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nbreactive.services.folder import FunctionsFolder
from tests.services.running import running


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
            assert [fields["module"] for event, fields in events if event == "file not deployed"] == ["chat"]

            (files / "chat.py").write_text(source("two"))
            await eventually(lambda: not folder.problems)
            assert await deployment.query("chat:f") == "two"
            (files / "other.py").unlink()
            await eventually(lambda: all(m.name != "other" for m in deployer.modules))

            await deployment.deploy("cell", source("from a cell"))
            (files / "cell.py").write_text(source("from a file"))
            await eventually(lambda: "cell" in folder.problems)
            assert "belongs to a.ipynb" in folder.problems["cell"]
            assert await deployment.query("cell:f") == "from a cell"
            await folder.close()

    asyncio.run(main())
