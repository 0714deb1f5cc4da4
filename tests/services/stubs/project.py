"""A project folder as a user has it: functions in ``reactive``, deployed, with the stubs that this has written."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nbreactive.services.folder import FunctionsFolder
from tests.services.running import running

ROOT = Path(__file__).parents[3]
NPM = ROOT / "tests" / "conformance" / "npm"
TSC = ROOT / "labextension" / "node_modules" / "typescript" / "bin" / "tsc"

FUNCTIONS = {
    "schema": """
from nbreactive import define_schema, define_table, v

schema = define_schema({
    "users": define_table({"name": v.string(), "role": v.union(v.literal("admin"), v.literal("writer"))}),
    "posts": define_table({
        "title": v.string(), "author_id": v.id("users"), "at": v.datetime(), "likes": v.integer(),
        "cover": v.optional(v.object({"width": v.number(), "from": v.string()})),
    }).index("by_author", ["author_id"]).search_index("words", search_field="title", filter_fields=["author_id", "likes"]),
    "events": define_table(v.union(v.object({"kind": v.literal("a"), "n": v.number()}), v.object({"kind": v.literal("b")}))),
    "anything": define_table(v.any()),
    "pictures": define_table({"name": v.string(), "meaning": v.array(v.number())})
        .vector_index("near", vector_field="meaning", dimensions=3, filter_fields=["name"]),
})
""",
    "posts": '''
from typing import Literal

from nbreactive import PaginationOpts, PaginationResult, UNSET, action, internal_mutation, mutation, query, v
from reactive._generated.api import api
from reactive._generated.data_model import Posts, PostsId, UsersId


@query
def get(ctx, post_id: PostsId) -> Posts | None:
    """One post, by "id".

    Ends no comment: */, and no string: \\"""
    """
    return ctx.db.get(post_id)


@query
def list_(ctx, author_id: UsersId | None = None, limit: int = 10, order: Literal["asc", "desc"] = "desc") -> list[Posts]:
    return ctx.db.query("posts").order(order).take(limit)


@query
def pages(ctx, opts: PaginationOpts, author_id: UsersId | None = None) -> PaginationResult[Posts]:
    return ctx.db.query("posts").paginate(opts)


@query
def loose(ctx, opts: PaginationOpts):
    return ctx.db.query("posts").paginate(opts)


@query
def titles(ctx) -> list[str]:
    return [post["title"] for post in ctx.run_query(api.posts.list)]


@mutation
def add(ctx, title: str, author_id: UsersId, tags: list[str] = UNSET) -> PostsId:
    return ctx.db.insert("posts", {"title": title, "author_id": author_id, "at": ctx.now(), "likes": 0})


@mutation(args={"from": v.number(), "to": v.optional(v.object({"a-b": v.bytes()}))}, returns=v.int64())
def import_(ctx, **args):
    return 2**60


@mutation(name="deletePost")
def remove(ctx, self: str, str: str):
    return None


@query
def live(ctx, **words: str) -> dict[str, float]:
    return {}


@action
async def summarize(ctx, post_id: PostsId) -> str:
    return "short"


@internal_mutation
def like(ctx, post_id: PostsId, by: float) -> None:
    return None
''',
    "admin": "from nbreactive import query\n\n@query\ndef default(ctx, n: int) -> int:\n    return n\n",
    "admin/users": "from nbreactive import query\n\n@query\ndef list_(ctx) -> list[str]:\n    return []\n",
}


def deploy(folder: Path, functions: Mapping[str, str] = FUNCTIONS) -> Path:
    """Deploy functions from ``folder/reactive``, which has the stubs then; returns the project's folder."""
    for name, source in functions.items():
        path = folder / "reactive" / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source, "utf-8")

    async def main() -> None:
        async with running(folder / "data") as deployment:
            watched = FunctionsFolder(folder / "reactive", deployment.parts.deployer, lambda *event, **fields: None)
            await watched.start()
            await watched.close()
            assert not watched.problems, watched.problems

    asyncio.run(main())
    return folder


def pyright(folder: Path, mode: str = "strict", *include: str) -> dict[str, set[tuple[int, str]]]:
    """What pyright finds in the project: file -> (line, rule)."""
    config = {
        "typeCheckingMode": mode, "pythonVersion": "3.11", "extraPaths": [str(ROOT)],
        "include": ["*.py", "reactive/_generated", *include],
    }  # fmt: skip
    (folder / "pyrightconfig.json").write_text(json.dumps(config))
    command = [sys.executable, "-m", "pyright", "--outputjson", "-p", str(folder), "--pythonpath", sys.executable]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
    found: dict[str, set[tuple[int, str]]] = {}
    report: dict[str, Any] = json.loads(done.stdout)
    assert report["summary"]["filesAnalyzed"] > 0
    for problem in report["generalDiagnostics"]:
        name = str(Path(problem["file"]).relative_to(folder.resolve()))
        found.setdefault(name, set()).add((problem["range"]["start"]["line"] + 1, problem.get("rule", "")))
        print(name, problem["range"]["start"]["line"] + 1, problem.get("rule"), problem["message"])
    return found


def tsc(folder: Path) -> dict[str, set[tuple[int, str]]]:
    """What TypeScript finds in the project, at its strictest, with the official package: file -> (line, code)."""
    install_convex()
    modules = folder / "node_modules"
    if not modules.exists():
        modules.symlink_to(NPM / "node_modules", target_is_directory=True)
    options = {
        "target": "ES2022", "module": "ESNext", "moduleResolution": "bundler", "strict": True, "noEmit": True,
        "lib": ["ES2022", "DOM"], "types": [], "exactOptionalPropertyTypes": True, "skipLibCheck": False,
    }  # fmt: skip
    config = {"compilerOptions": options, "include": ["*.ts", "reactive/_generated/*.d.ts"]}
    (folder / "tsconfig.json").write_text(json.dumps(config))
    done = subprocess.run(
        ["node", str(TSC), "-p", ".", "--pretty", "false"], capture_output=True, text=True, check=False, cwd=folder
    )
    print(done.stdout, done.stderr)
    found: dict[str, set[tuple[int, str]]] = {}
    for file, line, code in re.findall(r"(?m)^(\S+)\((\d+),\d+\): error (TS\d+):", done.stdout):
        found.setdefault(file, set()).add((int(line), code))
    assert done.returncode == 0 or found
    return found


def has_node() -> bool:
    """Whether TypeScript can run here."""
    return shutil.which("node") is not None and shutil.which("npm") is not None and TSC.exists()


def install_convex() -> None:
    """Install the official package, at the version of its lock file."""
    wanted = json.loads((NPM / "package.json").read_text())["dependencies"]["convex"]
    marker = NPM / "node_modules" / "convex" / "package.json"
    if not marker.exists() or json.loads(marker.read_text())["version"] != wanted:
        options = ["--no-audit", "--no-fund", "--legacy-peer-deps", "--ignore-scripts"]
        subprocess.run([str(shutil.which("npm")), "ci", *options], cwd=NPM, check=True)


def expected(source: str, mark: str) -> set[tuple[int, str]]:
    """The errors that a file announces itself, in comments behind its lines."""
    return {
        (number, code)
        for number, line in enumerate(source.splitlines(), 1)
        if mark in line
        for code in line.partition(mark)[2].split()
    }
