"""Running functions in this process, without workers: for tests and for debugging with a debugger.

Nothing can be killed here and memory is not limited; clocks, randomness and what functions must not do are treated as
in a worker.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Literal

from nbreactive.engine.transactions import Call, Outcome
from nbreactive.functions import Function, references
from nbreactive.functions.specs import Bundle, Manifest
from nbreactive.runtime import determinism
from nbreactive.runtime.execute import Runner
from nbreactive.runtime.frames import Select, Selection
from nbreactive.runtime.manifest import load_program, refusal
from nbreactive.runtime.tables import SnapshotReader, TableCache


class InlineExecutor:
    """Implements :class:`~nbreactive.engine.transactions.Executor` with plain calls.

    Parameters
    ----------
    bundle
        The modules.
    reader
        Reader of the row index.
    import_paths
        Folders that modules may import from.
    mode
        ``dev`` or ``prod``, as for :class:`~nbreactive.runtime.pool.Pool`.
    cursor_key
        What the cursors of pages are sealed with.
    functions
        Further functions, by path: of the system, for callers who may reach those.

    Raises
    ------
    DeployRefused
        With the issues of the bundle.
    """

    def __init__(
        self,
        bundle: Bundle,
        reader: SnapshotReader,
        *,
        import_paths: Sequence[str] = (),
        mode: Literal["dev", "prod"] = "dev",
        cursor_key: bytes = b"",
        functions: Mapping[str, Function] | None = None,
    ) -> None:
        determinism.install()
        program, found = load_program(bundle, import_paths)
        if not isinstance(found, Manifest):
            raise refusal(found)
        self.manifest = found
        self.program = program
        program.functions |= functions or {}
        self.select: Callable[[Call, Select], Selection] | None = None
        """Has the SQL of calls run."""
        self._reader = reader
        self._runner = Runner(program, reader, TableCache(), production=mode == "prod", cursor_key=cursor_key)

    async def run(self, call: Call, *, urgent: bool = False) -> Outcome:  # noqa: ARG002
        """Run a call now."""
        return self.run_now(call)

    def run_now(self, call: Call) -> Outcome:
        """Run a call, without an event loop."""
        self._reader.renew()
        self._runner.select = partial(self.select, call) if self.select is not None else None
        caller = references.set_caller(None)
        references.refuse_calls()
        try:
            return self._runner.run(call)
        finally:
            references.set_caller(caller)
