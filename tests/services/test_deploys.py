from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from nbreactive.engine.requests import QuerySpec
from nbreactive.errors import DeployRefused, StaleModule
from nbreactive.functions.specs import ModuleSource, Origin
from nbreactive.services.deploys import DeployRequest
from nbreactive.values.packing import pack
from tests.services.running import NOTEBOOK, Deployment, running

OTHER = Origin("cell", "b.ipynb", "/home/bob/b.ipynb")


def version(number: int) -> str:
    return f"from nbreactive import query\n\n\n@query\ndef f(ctx):\n    return {number}\n"


POSTS = """
from nbreactive import define_schema, define_table, mutation, query, v

{schema}

@mutation
def add(ctx, likes=None):
    return ctx.db.insert("posts", {{"likes": likes}})

@mutation
def change(ctx, id, likes):
    ctx.db.patch(id, {{"likes": likes}})

@query
def liked(ctx, least: int):
    {query}
"""
FREE = POSTS.format(schema="", query='return len([p for p in ctx.db.query("posts").collect() if p["likes"] >= least])')
STRICT = POSTS.format(
    schema='schema = define_schema({"posts": define_table({"likes": v.integer()}).index("by_likes", ["likes"])})',
    query='return len(ctx.db.query("posts").with_index("by_likes", lambda q: q.gte("likes", least)).collect())',
)


class Listener:
    def __init__(self) -> None:
        self.told = asyncio.Event()

    def invalidated(self) -> None:
        self.told.set()


def test_deploying_running_and_doing_it_again(tmp_path: Path) -> None:
    async def main() -> None:
        async with running(tmp_path) as deployment:
            done = await deployment.deploy("m", version(1))
            assert (done.version, done.unchanged, done.rerun) == (1, False, 0)
            assert [f["path"] for f in done.modules[0]["functions"]] == ["m:f"]
            assert await deployment.query("m:f") == 1
            again = await deployment.deploy("m", version(1), origin=OTHER)
            assert again.unchanged and again.version == 1 and again.modules[0]["version"] == 1
        async with running(tmp_path) as deployment:
            assert await deployment.query("m:f") == 1
            assert deployment.parts.deployer.version == 1

    asyncio.run(main())


def test_live_queries_are_run_again_on_the_new_code(tmp_path: Path) -> None:
    async def main() -> None:
        async with running(tmp_path) as deployment:
            subscriptions, listener = deployment.parts.engine.subscriptions, Listener()
            await deployment.deploy("m", version(1))
            subscriptions.add(listener, QuerySpec("m:f", pack({})))
            subscriptions.add(listener, QuerySpec("n:f", pack({})))
            first = await subscriptions.update(listener)
            assert sorted(r.failure.code if r.failure else r.value.decode() for _, r in first.changes) == [
                "1",
                "FunctionNotFound",
            ]
            for number in range(2, 6):
                listener.told.clear()
                done = await deployment.deploy("m", version(number), base={"m": number - 1})
                assert done.rerun == 2
                async with asyncio.timeout(20):
                    await listener.told.wait()
                update = await subscriptions.update(listener)
                assert [r.value for _, r in update.changes if r.failure is None] == [str(number).encode()]
            listener.told.clear()
            await deployment.deploy("n", version(7))
            async with asyncio.timeout(20):
                await listener.told.wait()
            assert [r.value for _, r in (await subscriptions.update(listener)).changes] == [b"7"]
            subscriptions.close(listener)

    asyncio.run(main())


FAILS = """
from nbreactive import mutation, query

@query
def check(ctx):
    for row in ctx.db.query("rows").collect():
        if row["n"] > 1:
            raise ValueError(f"{row['n']} is too much")

@mutation
def add(ctx, n: int):
    ctx.db.insert("rows", {"n": n})
"""


def test_a_live_query_that_fails_as_before_has_not_changed(tmp_path: Path) -> None:
    async def main() -> None:
        async with running(tmp_path) as deployment:
            subscriptions, listener = deployment.parts.engine.subscriptions, Listener()
            await deployment.deploy("m", FAILS)
            await deployment.mutate("m:add", n=5)
            subscriptions.add(listener, QuerySpec("m:check", pack({})))
            ((_, first),) = (await subscriptions.update(listener)).changes
            assert first.failure is not None and f"[Request ID: {first.request_id}]" in first.failure.message
            ran = deployment.parts.engine.executions["queries"]
            await deployment.mutate("m:add", n=6)
            assert (await subscriptions.update(listener)).changes == []
            assert deployment.parts.engine.executions["queries"] == ran + 1
            subscriptions.close(listener)

    asyncio.run(main())


def test_stale_copies_are_refused_with_a_diff_bar_9(tmp_path: Path) -> None:
    async def main() -> None:
        async with running(tmp_path) as deployment:
            await deployment.deploy("m", version(1), base={"m": None})
            await deployment.deploy("m", version(2), base={"m": 1})
            with pytest.raises(StaleModule, match="version 2 by ada is newer") as stale:
                await deployment.deploy("m", version(3), base={"m": 1})
            assert "-    return 2" in stale.value.diff and "+    return 3" in stale.value.diff
            assert stale.value.current["version"] == 2
            with pytest.raises(StaleModule, match="has not seen any version"):
                await deployment.deploy("m", version(3), base={"m": None})
            with pytest.raises(StaleModule, match=r"belongs to a\.ipynb.*comes from b\.ipynb"):
                await deployment.deploy("m", version(3), origin=OTHER, base={"m": 2})
            assert await deployment.query("m:f") == 2
            assert deployment.parts.deployer.version == 2
            assert (await deployment.deploy("m", version(3), origin=OTHER, force=True)).version == 3
            assert await deployment.query("m:f") == 3
            with pytest.raises(StaleModule):
                await deployment.deploy("m", version(4), base={"m": 2})

    asyncio.run(main())


def test_a_module_is_removed_by_whose_it_is(tmp_path: Path) -> None:
    async def main() -> None:
        async with running(tmp_path) as deployment:
            deployer = deployment.parts.deployer

            def remove(origin: Origin, base: int | None, force: bool = False) -> DeployRequest:
                return DeployRequest(remove=["m"], origin=origin, base={"m": base}, force=force)

            await deployment.deploy("m", version(1))
            await deployment.deploy("m", version(2), base={"m": 1})
            with pytest.raises(
                StaleModule, match=r"belongs to a\.ipynb \(ada, version 2\), this is b\.ipynb; .*--force"
            ):
                await deployer.deploy(remove(OTHER, 2), "bob")
            with pytest.raises(StaleModule, match=r"version 2 by ada, and what was seen here is version 1;"):
                await deployer.deploy(remove(NOTEBOOK, 1), "ada")
            assert await deployment.query("m:f") == 2
            assert (await deployer.deploy(remove(NOTEBOOK, 2), "ada")).version == 3
            await deployment.deploy("m", version(1))
            assert (await deployer.deploy(remove(OTHER, None, force=True), "bob")).version == 5

    asyncio.run(main())


def test_notebooks_of_the_same_name_are_told_apart(tmp_path: Path) -> None:
    al, bo = (Origin("cell", "chat.ipynb", f"/srv/{person}/week 1/chat.ipynb") for person in ("al", "bo"))

    async def main() -> None:
        async with running(tmp_path) as deployment:
            await deployment.deploy("m", version(1), origin=al)
            with pytest.raises(
                StaleModule, match=r"belongs to al/week 1/chat\.ipynb .*comes from bo/week 1/chat\.ipynb;"
            ):
                await deployment.deploy("m", version(2), origin=bo, base={"m": 1})

    asyncio.run(main())


def test_who_forced_and_rolled_back_keeps_the_module(tmp_path: Path) -> None:
    async def main() -> None:
        async with running(tmp_path) as deployment:
            deployer = deployment.parts.deployer
            await deployment.deploy("m", version(1), author="ada")
            await deployment.deploy("m", version(2), author="bob", origin=OTHER, force=True)
            assert (await deployer.rollback("m", 1, "bob")).version == 3
            assert deployer.module_at("m").origin == OTHER
            with pytest.raises(StaleModule, match=r"belongs to b\.ipynb"):
                await deployment.deploy("m", version(4), author="ada", base={"m": 3})
            assert (await deployment.deploy("m", version(4), author="bob", origin=OTHER, base={"m": 3})).version == 4
            # whom it was taken from gets it back, also where all have one name and the notebooks tell
            await deployer.rollback("m", 1, "bob", NOTEBOOK)
            assert deployer.module_at("m").origin == NOTEBOOK
            await deployer.rollback("m", 4, "bob", Origin("cell", "c.ipynb", "/home/cy/c.ipynb"))
            assert deployer.module_at("m").origin == NOTEBOOK  # who never had it does not get it

    asyncio.run(main())


def test_a_copy_of_a_text_that_is_deployed_again_is_not_stale(tmp_path: Path) -> None:
    async def main() -> None:
        async with running(tmp_path) as deployment:
            await deployment.deploy("m", version(1))
            await deployment.deploy("m", version(2))
            await deployment.parts.deployer.rollback("m", 1, "ada")
            with pytest.raises(StaleModule, match="was made from version 2"):
                await deployment.deploy("m", version(5), base={"m": 2})
            assert (await deployment.deploy("m", version(5), base={"m": 1})).version == 4

    asyncio.run(main())


def test_history_source_rollback_and_removal(tmp_path: Path) -> None:
    async def main() -> None:
        async with running(tmp_path) as deployment:
            deployer = deployment.parts.deployer
            for number in (1, 2, 3):
                await deployment.deploy("m", version(number), author=f"author {number}")
            await deployment.deploy("n", version(9))
            assert [record.version for record in deployer.history("m")] == [3, 2, 1]
            assert [record.version for record in deployer.history()] == [4, 3, 2, 1]
            assert deployer.module_at("m", 2).source == version(2) == deployer.module_at("m", 2).source
            assert deployer.module_at("m").author == "author 3"
            back = await deployer.rollback("m", 1, "bob")
            assert back.version == 5 and await deployment.query("m:f") == 1
            assert deployer.history("m")[0].message == "rollback of m to version 1"
            for unknown in (0, 4, 99):  # 4 is a version of n
                with pytest.raises(DeployRefused, match=f"^there is no version {unknown} of m; there are 1, 2, 3, 5$"):
                    await deployer.rollback("m", unknown, "bob")
            with pytest.raises(DeployRefused, match="no module 'x' was ever deployed; deployed modules: m, n"):
                await deployer.rollback("x", 1, "bob")
            with pytest.raises(DeployRefused, match="no version of n before the current one; there is 4"):
                deployer.version_before("n")
            assert deployer.version_before("m") == 3 and deployer.version == 5
            await deployer.deploy(DeployRequest(remove=["m"]), "ada")
            with pytest.raises(AssertionError, match="FunctionNotFound"):
                await deployment.query("m:f")
            assert await deployment.query("n:f") == 9
            with pytest.raises(DeployRefused, match="no module 'm' to remove"):
                await deployer.deploy(DeployRequest(remove=["m"]), "ada")
            assert deployer.module_at("m", 5).source == version(1)
            assert deployer.version_before("m") == 5
            assert (await deployer.rollback("m", 3, "bob")).version == 7 and await deployment.query("m:f") == 3

    asyncio.run(main())


def test_a_refused_deploy_changes_nothing(tmp_path: Path) -> None:
    async def main() -> None:
        async with running(tmp_path) as deployment:
            await deployment.deploy("m", version(1))
            for broken, line in (
                ("def f(:\n", 1),
                ("from nbreactive import query\n\n@query\ndef f(ctx):\n    return nowhere_defined\n", 5),
            ):
                with pytest.raises(DeployRefused) as refused:
                    await deployment.deploy("m", broken)
                assert refused.value.issues[0]["line"] == line, refused.value.issues
            good, bad = ModuleSource("n", version(2), OTHER), ModuleSource("o", "import no_such_package\n", OTHER)
            with pytest.raises(DeployRefused) as refused:
                await deployment.parts.deployer.deploy(DeployRequest(modules=[good, bad]), "ada")
            assert "no_such_package" in refused.value.issues[0]["reason"]
            assert await deployment.query("m:f") == 1
            assert [m.name for m in deployment.parts.deployer.modules] == [
                "m"
            ] and deployment.parts.deployer.version == 1
            assert (await deployment.deploy("m", version(5))).version == 2 and await deployment.query("m:f") == 5

    asyncio.run(main())


def test_stored_documents_are_checked_and_new_indexes_filled(tmp_path: Path) -> None:
    async def main() -> None:
        async with running(tmp_path) as deployment:
            await deployment.deploy("m", FREE)
            ids = [await deployment.mutate("m:add", likes=number if number != 7 else "seven") for number in range(40)]
            with pytest.raises(DeployRefused) as refused:
                await deployment.deploy("m", STRICT)
            (issue,) = refused.value.issues
            assert f'Document with ID "{ids[7]}" in table "posts" does not match the schema' in issue["reason"]
            assert "likes" in issue["reason"]
            declared = next(n for n, text in enumerate(STRICT.split("\n"), 1) if "define_schema(" in text)
            assert (issue["file"], issue["line"]) == ("reactive/m.py", declared)
            table = deployment.parts.engine.catalog().table("posts")
            assert table is not None and table.validator is None and len(table.indexes) == 2
            await deployment.mutate("m:change", id=ids[7], likes=7)
            await deployment.deploy("m", STRICT)
            table = deployment.parts.engine.catalog().table("posts")
            assert table is not None and table.validator is not None
            assert [(i.name, i.fields, i.state) for i in table.indexes[2:]] == [("by_likes", ("likes",), "ready")]
            assert await deployment.query("m:liked", least=30) == 10
            with pytest.raises(AssertionError, match="likes"):
                await deployment.mutate("m:add", likes="many")
            await deployment.mutate("m:add", likes=99)
            assert await deployment.query("m:liked", least=30) == 11
            await deployment.deploy("m", FREE)
            table = deployment.parts.engine.catalog().table("posts")
            assert table is not None and table.validator is None and len(table.indexes) == 2
            await deployment.mutate("m:add", likes=1.5)
        async with running(tmp_path) as deployment:
            assert await deployment.query("m:liked", least=0) == 42

    asyncio.run(main())


def test_writes_go_on_while_an_index_is_built_and_documents_are_checked(tmp_path: Path) -> None:
    async def main() -> None:
        async with running(tmp_path) as deployment:
            await deployment.deploy("m", FREE)
            for number in range(300):
                await deployment.mutate("m:add", likes=number)
            written = 300
            deploy = asyncio.create_task(deployment.deploy("m", STRICT))
            while not deploy.done():
                await deployment.mutate("m:add", likes=written)
                written += 1
            assert not (await deploy).unchanged and written > 301
            assert await deployment.query("m:liked", least=0) == written

            await deployment.deploy("m", FREE)
            await spoil(deployment)
            assert deployment.parts.engine.catalog().table("posts").validator is None  # type: ignore[union-attr]

    async def spoil(deployment: Deployment) -> None:
        """A document that breaks the new schema and is written after its table was looked at."""
        schema_change = asyncio.create_task(deployment.deploy("m", STRICT))
        await deployment.mutate("m:add", likes="bad")
        while not schema_change.done():
            await deployment.mutate("m:add", likes="bad")
        with pytest.raises(DeployRefused):
            await schema_change

    asyncio.run(main())


def test_an_index_whose_fields_change_is_built_anew(tmp_path: Path) -> None:
    async def main() -> None:
        async with running(tmp_path) as deployment:
            await deployment.deploy("m", STRICT)
            for number in range(5):
                await deployment.mutate("m:add", likes=number)
            slots = []
            for fields in ('["likes"]', '["likes", "extra"]', '["likes"]'):
                source = STRICT.replace('["likes"])})', f"{fields})}})").replace(
                    '"likes": v.integer()', '"likes": v.integer(), "extra": v.optional(v.any())'
                )
                await deployment.deploy("m", source)
                table = deployment.parts.engine.catalog().table("posts")
                assert table is not None
                slots.append(table.indexes[2].slot)
                assert await deployment.query("m:liked", least=3) == 2
            assert len(set(slots)) == 3

    asyncio.run(main())


def test_a_deploy_that_is_refused_after_its_index_was_built_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        async with running(tmp_path) as deployment:
            engine = deployment.parts.engine
            await deployment.deploy("m", FREE)
            ids = [await deployment.mutate("m:add", likes=number) for number in range(50)]
            before = engine.catalog().table("posts")
            backfill, staged = engine.backfill, []

            async def spoilt(table: str, index: int) -> None:
                await backfill(table, index)
                found = engine.catalog().table(table)
                assert found is not None
                staged.extend(found.indexes[2:])
                await deployment.mutate("m:change", id=ids[7], likes="bad")

            monkeypatch.setattr(engine, "backfill", spoilt)
            with pytest.raises(DeployRefused, match=r"posts.*does not match the schema"):
                await deployment.deploy("m", STRICT)
            (index,) = staged
            assert index.name == "by_likes" and index.state == "backfilling"
            after = engine.catalog().table("posts")
            assert before is not None and after is not None
            assert after.indexes == before.indexes and after.validator is None
            assert deployment.parts.deployer.version == 1 and len(deployment.parts.deployer.history()) == 1
            await deployment.mutate("m:change", id=ids[7], likes=7)
            assert await deployment.query("m:liked", least=40) == 10

            monkeypatch.setattr(engine, "backfill", backfill)
            await deployment.deploy("m", STRICT)
            assert await deployment.query("m:liked", least=40) == 10
            again = engine.catalog().table("posts")
            assert again is not None and again.indexes[2].slot > index.slot

    asyncio.run(main())


def test_one_deploy_of_many_long_modules(tmp_path: Path) -> None:
    async def main() -> None:
        async with running(tmp_path) as deployment:
            deployer = deployment.parts.deployer
            filler = "# " + "x" * 300_000 + "\n"
            modules = [ModuleSource(f"m{number}", filler + version(number), OTHER) for number in range(12)]
            await deployer.deploy(DeployRequest(modules=modules), "ada")
            await deployer.deploy(DeployRequest(modules=[ModuleSource("m3", version(33), OTHER)]), "ada")
            for record, names in zip(deployer.history(), [["m3"], [m.name for m in modules]], strict=True):
                assert list(record.modules) == names
            assert deployer.module_at("m11", 1).source == modules[11].source
            await deployer.rollback("m3", 1, "ada")
            assert await deployment.query("m3:f") == 3
        async with running(tmp_path) as deployment:
            assert await deployment.query("m11:f") == 11
            assert [record.version for record in deployment.parts.deployer.history()] == [3, 2, 1]

    asyncio.run(main())


def test_sources_that_are_too_long_are_refused_by_name(tmp_path: Path) -> None:
    async def main() -> None:
        async with running(tmp_path) as deployment:
            with pytest.raises(DeployRefused, match=r"bytes of source in the module 'long'.*split it"):
                await deployment.deploy("long", "#" * (1 << 20) + "\n")
            many = [ModuleSource(f"m{number}", "#" * 1_000_000, OTHER) for number in range(13)]
            with pytest.raises(DeployRefused, match=r"bytes of source in one deploy.*first, then the others"):
                await deployment.parts.deployer.deploy(DeployRequest(modules=many), "ada")
            assert deployment.parts.deployer.version == 0
            await deployment.parts.deployer.deploy(DeployRequest(modules=many[:12]), "ada")

    asyncio.run(main())
