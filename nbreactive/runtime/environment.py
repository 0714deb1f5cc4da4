"""``ctx.env`` of queries and mutations: environment variables, read at the snapshot of the call.

Reading one is a read like any other: setting the variable re-runs exactly the live queries that asked for it, and a
query that asked for a variable that is not set runs again once it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from nbreactive.engine.environment import names_range, read_variable, read_variables, variable_range
from nbreactive.errors import InvalidValue, MissingVariable
from nbreactive.runtime.transaction import Transaction


class Environment(Mapping[str, str]):
    """The deployment's variables by name.

    ``ctx.env["NAME"]``, ``ctx.env.get("NAME", default)`` and ``"NAME" in ctx.env`` read that variable alone. Iterating
    gives the names, and makes a query depend on all of them.
    """

    __slots__ = ("_txn",)

    def __init__(self, txn: Transaction) -> None:
        self._txn = txn

    def __getitem__(self, name: str) -> str:
        value = self._find(name)
        if value is None:
            raise missing(name)
        return value

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self._find(name) is not None

    def __iter__(self) -> Iterator[str]:
        reader = self._txn.look(*names_range())
        return iter(read_variables(reader, self._txn.snapshot))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __repr__(self) -> str:
        return "<environment variables of the deployment>"  # never their values: they would land in logs

    def _find(self, name: object) -> str | None:
        if not isinstance(name, str):
            raise InvalidValue(f"an environment variable is named by a string, not by {type(name).__name__}")
        return read_variable(self._txn.look(*variable_range(name)), self._txn.snapshot, name)


def missing(name: str) -> MissingVariable:
    """The error for a variable that is not set."""
    return MissingVariable(
        f"the environment variable {name[:100]!a} is not set in this deployment; set it with"
        f" %reactive env set {name[:100]}, or give a default with ctx.env.get({name[:100]!a}, ...)"
    )
