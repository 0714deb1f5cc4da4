"""Setting and listing environment variables; names are checked, values never appear in a message.

Functions read them through their transaction (:mod:`nbreactive.runtime.environment`); an action gets those of the
moment in which it begins (:func:`env_at`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import msgspec

from nbreactive.engine.catalog import ENV, Catalog
from nbreactive.engine.environment import Variable, read_variables, variable_document
from nbreactive.engine.row_index import Reader
from nbreactive.engine.transactions import Write
from nbreactive.errors import InvalidValue
from nbreactive.runtime.system_environment import BUILT_IN
from nbreactive.values.limits import ENVIRONMENT_BYTES, ENVIRONMENT_VALUE, ENVIRONMENT_VARIABLES, IDENTIFIER, exceed

if TYPE_CHECKING:
    from nbreactive.engine.engine import Engine

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)


class VariableChange(msgspec.Struct, frozen=True):
    """One variable gets a value, or none any more (None)."""

    name: str
    value: str | None = None

    def __repr__(self) -> str:
        return f"VariableChange({self.name[:IDENTIFIER]!r})"


class EnvironmentVariables:
    """The variables of one deployment.

    Parameters
    ----------
    engine
        Gives the engine of the moment.
    """

    def __init__(self, engine: Callable[[], Engine]) -> None:
        self._engine = engine

    def list(self) -> dict[str, str]:
        """What people have set, by name."""
        return {name: value for name, value in env_at(self._engine()).items() if name not in BUILT_IN}

    async def update(self, changes: Sequence[VariableChange]) -> None:
        """Make changes, all or none; returns when they are durable and live queries run again.

        Raises
        ------
        InvalidValue
            A name or a value cannot be that of a variable, or there would be too many.
        """
        wanted: dict[str, str | None] = {}
        for change in changes:
            _check(change)
            if change.name in wanted:
                raise InvalidValue(f"the variable {change.name} is changed twice; say what it is to be", "changes")
            wanted[change.name] = change.value
        await self._write(wanted)

    async def tell(self, url: str, site_url: str) -> None:
        """Let functions know where this deployment answers: the variables that are always there."""
        values = dict(zip(BUILT_IN, (url, site_url) * 2, strict=True))
        if {name: env_at(self._engine()).get(name) for name in BUILT_IN} != values:
            await self._write(values)

    async def _write(self, wanted: Mapping[str, str | None]) -> None:
        engine = self._engine()
        now = float(engine.clock.now_ns() // 1_000_000)

        def changed(reader: Reader, _catalog: Catalog, ts: int) -> list[Write]:
            stored = read_variables(reader, ts)
            writes = list(_writes(stored, wanted, engine.new_internal, now))
            _check_all({name: variable.value for name, variable in stored.items()} | dict(wanted))
            return writes

        await engine.transact(changed)


def env_at(engine: Engine) -> dict[str, str]:
    """Every environment variable as it is now, those that are always there included; for actions."""
    reader = engine.reader()
    try:
        return {name: variable.value for name, variable in read_variables(reader, engine.applied).items()}
    finally:
        reader.close()


def _writes(
    stored: Mapping[str, Variable], wanted: Mapping[str, str | None], new_id: Callable[[], bytes], now: float
) -> list[Write]:
    writes: list[Write] = []
    for name, value in wanted.items():
        before = stored.get(name)
        if value is None and before is not None:
            writes.append(Write(ENV, before.id, None, before.version))
        elif value is not None and (before is None or before.value != value):
            id, version = (before.id, before.version) if before is not None else (new_id(), 0)
            writes.append(Write(ENV, id, variable_document(name, value, now), version))
    return writes


def _check(change: VariableChange) -> None:
    name = change.name
    if len(name) > IDENTIFIER:
        exceed("characters in the name of an environment variable", len(name), IDENTIFIER, "use a shorter one")
    if not _NAME.fullmatch(name):
        raise InvalidValue(
            f"an environment variable cannot be called {name!a}: its name is made of letters, digits and _, and does not"
            " start with a digit"
        )
    if name in BUILT_IN:
        raise InvalidValue(f"{name} is set by the backend itself; choose another name")
    if change.value is not None:
        size = len(change.value.encode("utf-8", "surrogatepass"))
        if size > ENVIRONMENT_VALUE:
            fix = "keep what is larger in a document or a file, and its name here"
            exceed(f"bytes in the environment variable {name}", size, ENVIRONMENT_VALUE, fix)


def _check_all(values: Mapping[str, str | None]) -> None:
    present = {name: value for name, value in values.items() if value is not None and name not in BUILT_IN}
    if len(present) > ENVIRONMENT_VARIABLES:
        fix = "remove some, or keep settings in a table"
        exceed("environment variables", len(present), ENVIRONMENT_VARIABLES, fix)
    size = sum(len(name) + len(value.encode("utf-8", "surrogatepass")) for name, value in present.items())
    if size > ENVIRONMENT_BYTES:
        fix = "remove some, or keep what is large in a table"
        exceed("bytes in all environment variables", size, ENVIRONMENT_BYTES, fix)
