"""What runs by itself: scheduled functions and cron jobs, put together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from nbreactive.functions.specs import FunctionSpec, Manifest
from nbreactive.services.crons import Crons
from nbreactive.services.jobs import Jobs, RunAction
from nbreactive.services.scheduler import Scheduler

if TYPE_CHECKING:
    from nbreactive.engine.engine import Engine
    from nbreactive.runtime.pool import Pool
    from nbreactive.services.deploys import Deployer


class Background:
    """Scheduler and crons of one deployment.

    Parameters
    ----------
    engine, pool, deployer
        What there is to run, and where.
    run_action
        Runs actions.
    """

    def __init__(self, engine: Engine, pool: Pool, deployer: Deployer, run_action: RunAction) -> None:
        self._pool = pool
        self._deployer = deployer
        self._functions: tuple[Manifest | None, dict[str, FunctionSpec]] = None, {}
        self.jobs = Jobs(engine, run_action, self._deployed)
        self.scheduler = Scheduler(engine, self.jobs)
        self.crons = Crons(engine, self.jobs)
        deployer.on_settled = self._settled

    async def start(self) -> None:
        """Begin to run what is due."""
        await self.crons.start()
        await self.scheduler.start()

    async def stop(self) -> None:
        """Begin nothing more."""
        await self.crons.stop()
        await self.scheduler.stop()

    async def close(self) -> None:
        """Write how actions have ended, once they have."""
        await self.jobs.close()

    def _settled(self) -> None:
        """A deploy is in, or was undone."""
        self._functions = None, {}
        self.scheduler.wake()
        self.crons.wake()

    def _deployed(self) -> Mapping[str, FunctionSpec] | None:
        # Nothing can be said of modules that cannot be imported at the moment: their jobs wait until they can be. Nor
        # while a deploy is on its way: the workers run it already, and it may be undone yet.
        manifest, deployer = self._pool.manifest, self._deployer
        if manifest is None or deployer.problem is not None or manifest.version != deployer.manifest.version:
            return None
        if self._functions[0] is not manifest:
            self._functions = manifest, {spec.path: spec for spec in manifest.functions}
        return self._functions[1]
