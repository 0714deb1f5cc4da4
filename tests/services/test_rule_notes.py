from __future__ import annotations

import asyncio
from pathlib import Path

from nbreactive.engine.requests import QueryRequest
from nbreactive.notebook.deploy import Answer
from nbreactive.values.json import decode_json
from nbreactive.values.packing import pack
from tests.services.running import Deployment, running

POSTS = """
from nbreactive import define_schema, define_table, v

schema = define_schema({"posts": define_table({}), "people": define_table({})})
"""


def rules(text: str) -> str:
    return f"from nbreactive import define_schema, define_table, rules\n\n{text}\n"


async def sizes(deployment: Deployment) -> dict[str, list[str] | None]:
    request = QueryRequest(path="_system/tables:sizes", args=pack({}), identity=None, reach="system", request_id="r")
    result = await deployment.parts.engine.query(request)
    assert result.failure is None
    return {table["name"]: table["rules"] for table in decode_json(result.value)}


def test_a_deploy_names_the_tables_that_its_rules_close(tmp_path: Path) -> None:
    async def main() -> None:
        async with running(tmp_path) as deployment:
            assert (await deployment.deploy("app", POSTS)).warnings == ()
            assert await sizes(deployment) == {"posts": None, "people": None}
            [closed] = (await deployment.deploy("one", rules('rules("posts", read=True)'))).warnings
            assert "tables without are closed to public functions: people; open one" in closed
            assert "rules('people', read=True, insert=True, modify=True)" in closed
            assert await sizes(deployment) == {"posts": ["read"], "people": []}
            assert (await deployment.deploy("two", "x = 1")).warnings == ()  # it was said
            new = rules('schema = define_schema({"new": define_table({})})\nrules("people", read=True)')
            [closed] = (await deployment.deploy("two", new)).warnings
            assert "public functions: new;" in closed

    asyncio.run(main())


def test_rules_for_a_table_that_there_is_not(tmp_path: Path) -> None:
    async def main() -> None:
        async with running(tmp_path) as deployment:
            await deployment.deploy("app", POSTS)
            done = await deployment.deploy("one", rules('rules("post", read=True)\nrules("later", read=True)'))
            closed, near, later = done.warnings[0], done.warnings[2], done.warnings[1]
            assert "people, posts;" in closed
            assert (
                near
                == "rules('post') in reactive/one.py, line 3: there is no table of that name; did you mean 'posts'?"
            )
            assert later.endswith("line 4: there is no table of that name yet")
            said = Answer("here", {"modules": [], "warnings": list(done.warnings)}).text
            assert said.splitlines() == [f"warning: {warning}" for warning in done.warnings]

    asyncio.run(main())
