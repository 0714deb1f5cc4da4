"""What people do from the side panel, beside changing documents: as actions, over the connection that they look through.

They need the role ``deploy``, like the doors of the admin API that do the same; each has its line in the log.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from nbreactive.engine.transactions import Call
from nbreactive.functions import bind
from nbreactive.runtime import system_panel as names
from nbreactive.runtime.lookup import find
from nbreactive.server.identity import Caller
from nbreactive.services.env import VariableChange
from nbreactive.values.packing import unpack

if TYPE_CHECKING:
    from nbreactive.server.backend import Backend

Operation = Callable[[dict[str, Any], str, str], Awaitable[Any]]
"""Takes the arguments, who does it, and the id of the request."""


class Operations:
    """Operations on one deployment.

    Parameters
    ----------
    backend
        What they are done to.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._known: dict[str, Operation] = {
            names.RUN_JOB: self._run_job,
            names.CANCEL_JOB: self._cancel_job,
            names.RUN_CRON: self._run_cron,
            names.ROLL_BACK: self._roll_back,
            names.UNDO: self._undo,
            names.SET_VARIABLE: self._set_variable,
            names.UPLOAD_URL: self._upload_url,
            names.DELETE_FILE: self._delete_file,
        }

    def __contains__(self, path: str) -> bool:
        return path in self._known

    async def run(self, caller: Caller, path: str, args: bytes, request_id: str) -> Any:
        """Do what a path names.

        Raises
        ------
        Refused
            The caller may not deploy.
        NBReactiveError
            It cannot be done; nothing was.
        """
        caller.require("deploy")
        _, function = find(names.FUNCTIONS, Call(path, args, "action", "system"))
        given = bind(function, unpack(args))["args"]
        identity = caller.identity or {}
        author = str(identity.get("name") or identity.get("subject") or caller.label)
        done = await self._known[path](given, author, request_id)
        said = {name: value for name, value in given.items() if name != "value"}  # values of variables are secrets
        self._backend.site.logs.event(path.partition(":")[2].replace("_", " "), author=author, args=said)
        return done

    async def _run_job(self, args: dict[str, Any], *_: str) -> bool:
        return await self._backend.background.scheduler.table.run_now(args["id"])

    async def _cancel_job(self, args: dict[str, Any], *_: str) -> bool:
        return await self._backend.background.scheduler.table.cancel(args["id"])

    async def _run_cron(self, args: dict[str, Any], *_: str) -> None:
        await self._backend.background.crons.run_now(args["name"])

    async def _roll_back(self, args: dict[str, Any], author: str, _: str) -> float:
        deployer, module = self._backend.deployer, args["module"]
        version = int(args["version"]) if "version" in args else deployer.version_before(module)
        return float((await deployer.rollback(module, version, author)).version)

    async def _undo(self, args: dict[str, Any], author: str, request_id: str) -> str:
        return (await self._backend.undo.undo(args["commit"], author, request_id)).ts

    async def _set_variable(self, args: dict[str, Any], *_: str) -> None:
        await self._backend.environment.update([VariableChange(args["name"], args["value"])])

    async def _upload_url(self, *_: Any) -> str:
        return self._backend.files.upload_url()

    async def _delete_file(self, args: dict[str, Any], *_: str) -> None:
        await self._backend.files.delete(args["id"])
