"""A whole deployment without doors, in this process, for the tests of services."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from nbreactive.engine.requests import MutationRequest, QueryRequest
from nbreactive.functions.specs import ModuleSource, Origin
from nbreactive.server.parts import Parts, PartsConfig
from nbreactive.services.deploys import Deployed, DeployRequest
from nbreactive.values.json import decode_json
from nbreactive.values.packing import pack

NOTEBOOK = Origin("cell", "a.ipynb", "/home/ada/a.ipynb")


class Deployment:
    def __init__(self, parts: Parts) -> None:
        self.parts = parts

    async def deploy(
        self, name: str, source: str, *, origin: Origin = NOTEBOOK, author: str = "ada", **options: Any
    ) -> Deployed:
        return await self.parts.deployer.deploy(
            DeployRequest(modules=[ModuleSource(name, source, origin)], **options), author
        )

    async def query(self, path: str, **args: Any) -> Any:
        result = await self.parts.engine.query(QueryRequest(path, pack(args)))
        assert result.failure is None, result.failure
        return decode_json(result.value)

    async def mutate(self, path: str, **args: Any) -> Any:
        result = await self.parts.engine.mutate(MutationRequest(path, pack(args)))
        assert result.failure is None, result.failure
        return decode_json(result.value)


@asynccontextmanager
async def running(folder: Path, **options: Any) -> AsyncIterator[Deployment]:
    parts = await Parts.open(PartsConfig(folder, workers=1, **options))
    try:
        await parts.begin()
        yield Deployment(parts)
    finally:
        await parts.close()
