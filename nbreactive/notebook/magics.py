"""``%reactive`` and ``%%reactive``: one namespace for all commands, nothing of it is pasted from variables."""

from __future__ import annotations

import datetime as dt
import difflib
import itertools
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
from IPython.core.magic import Magics, line_cell_magic, magics_class, no_var_expand

import nbreactive.client as client_module
from nbreactive.client.client import Client, path_of
from nbreactive.errors import ArgumentError, NBReactiveError, NotConnected
from nbreactive.notebook import commits, environment, jobs, logs_view, sql_cell
from nbreactive.notebook.cells import safe_text
from nbreactive.notebook.deploy import Deployer, deployment_of, show, signature
from nbreactive.notebook.status import many, report, status_line
from nbreactive.notebook.tables_view import TablesQuery

_USAGE = {
    "connect": "connect [URL] [--deployment NAME] [--token TOKEN] [--key ADMIN_KEY]",
    "status": "status",
    "functions": "functions [MODULE]",
    "tables": "tables",
    "logs": logs_view.USAGE,
    "env": environment.USAGE,
    "jobs": jobs.USAGE,
    "changes": commits.CHANGES,
    "undo": commits.UNDO,
    "run": "run FUNCTION [JSON ARGUMENTS]",
    "deploy": "deploy FILE_OR_FOLDER [--force] [-m MESSAGE]",
    "history": "history [MODULE]",
    "diff": "diff MODULE VERSION [VERSION]",
    "source": "source MODULE [VERSION]",
    "rollback": "rollback MODULE [VERSION]      (default: the version before)",
    "remove": "remove MODULE [--force]",
    "reset": "reset DEPLOYMENT [--yes]      (deletes all its data, everybody's; without --yes: says what that is)",
    "disconnect": "disconnect",
    "help": "help",
    "sql": "",
}

COMMANDS = tuple(_USAGE)

_WHAT = {
    "connect": "connect to another server (own: this kernel's) or deployment; without URL look for one again",
    "status": "what this notebook is connected to, how well, and what is live",
    "functions": "the deployed functions, with their arguments",
    "tables": "the tables, how many documents they have, how large they are, and their indexes, live",
    "logs": "what functions printed, and which failed",
    "env": "environment variables of the functions (ctx.env): list, set, remove",
    "jobs": "scheduled functions and cron jobs: list, cancel, run now",
    "changes": "what was committed, newest first: when, by which function, for whom",
    "undo": "take a commit back, in a new one; refused if its documents were changed since, unless --force",
    "run": 'call a function: %reactive run chat.send {"body": "hi"}',
    "deploy": "deploy files of functions; each becomes the module of its name",
    "history": "who deployed what, and when",
    "diff": "what changed in a module between two versions, or since one",
    "source": "the deployed text of a module; having seen it, you may deploy a newer one",
    "rollback": "deploy an older text of a module again",
    "remove": "take a module away; its tables and their rows stay",
    "reset": "delete all data and functions of a deployment",
    "disconnect": "end the connection; live tables keep their last rows",
    "help": "this list",
}
_CELL_USAGE = "%%reactive deploy MODULE [--force] [-m MESSAGE]"


@magics_class
class ReactiveMagics(Magics):
    """The magics of nbreactive."""

    def __init__(self, shell: Any) -> None:
        super().__init__(shell)
        self.deployer = Deployer(shell)

    @no_var_expand
    @line_cell_magic
    def reactive(self, line: str, cell: str | None = None) -> Any:
        """Run ``%reactive COMMAND ...``; ``%reactive`` alone lists the commands."""
        command, _, rest = line.strip().partition(" ")
        if not command:
            return self._help("")
        work: Callable[[str], Any] | None = getattr(self, f"_{command}", None) if command in _USAGE else None
        if work is None:
            near = difflib.get_close_matches(command, _USAGE, 1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise ArgumentError(f"%reactive has no command {command!r}.{hint} It knows: {', '.join(_USAGE)}.")
        if command == "sql" and cell is None:
            raise ArgumentError(f"SQL takes a cell of its own: {sql_cell.USAGE}, and the statement below it.")
        if cell is not None:
            if command == "sql":
                return self._sql(rest, cell)
            if command != "deploy":
                raise ArgumentError(
                    f"%%reactive deploy MODULE and %%reactive sql take a cell; {command} does not: write %reactive {line}"
                )
            return self._deploy_cell(rest, cell)
        return work(rest)

    def _help(self, rest: str) -> None:
        _words("help", rest, 0, 0)
        lines = [(_CELL_USAGE, "deploy the functions of this cell as a module")]
        lines += [(sql_cell.USAGE, "a live result of SQL; $x is the variable or widget x, --once a snapshot")]
        lines += [(f"%reactive {usage}", _WHAT[command]) for command, usage in _USAGE.items() if usage]
        show("\n".join(f"{usage}\n      {what}" for usage, what in lines))

    # ---- connection ----

    def _connect(self, rest: str) -> None:
        given, options = _words("connect", rest, 0, 1, {"--token": True, "--key": True, "--deployment": True})
        client = client_module.connect(
            given[0] if given else None,
            token=options.get("--token"),
            admin_key=options.get("--key"),
            deployment=options.get("--deployment"),
        )
        client.on_logs = print_logs
        show(status_line(client))

    def _status(self, rest: str) -> None:
        _words("status", rest, 0, 0)
        client = client_module.connected()
        show(report(client) if client is not None else "not connected · %reactive connect [URL]")

    def _disconnect(self, rest: str) -> None:
        _words("disconnect", rest, 0, 0)
        client_module.disconnect()
        show("disconnected · live queries keep their last values")

    # ---- looking and running ----

    def _functions(self, rest: str) -> Any:
        given, _ = _words("functions", rest, 0, 1)
        functions = client().functions()
        if not functions:
            return show("no functions are deployed · %%reactive deploy MODULE")
        modules = sorted({f["path"].rpartition(":")[0] for f in functions})
        if given and module_name(given[0]) not in modules:
            raise ArgumentError(f"There is no module {given[0]!r}. Deployed: {', '.join(modules)}.")
        wanted = [f for f in functions if not given or f["path"].rpartition(":")[0] == module_name(given[0])]
        show(aligned([[*signature(f).split(" ", 1), (f.get("doc") or "").strip().split("\n")[0]] for f in wanted]))
        return None

    def _tables(self, rest: str) -> TablesQuery:
        _words("tables", rest, 0, 0)
        return TablesQuery.open(client())

    def _run(self, rest: str) -> Any:
        name, _, arguments = rest.strip().partition(" ")
        if not name:
            raise ArgumentError(f"Usage: %reactive {_USAGE['run']}")
        try:
            args = msgspec.json.decode(arguments) if arguments.strip() else {}
        except msgspec.DecodeError as failure:
            raise ArgumentError(
                f'The arguments are not JSON ({failure}): write %reactive run {name} {{"limit": 5}}'
            ) from None
        if not isinstance(args, dict):
            raise ArgumentError(f'Arguments are one JSON object: %reactive run {name} {{"limit": 5}}')
        return client().call(function_path(name), args)

    def _logs(self, rest: str) -> None:
        _, options = _words("logs", rest, 0, 0, logs_view.OPTIONS)
        logs_view.show(client(), options)

    def _env(self, rest: str) -> None:
        words = environment.words_of(rest, lambda line: _words("env", line, 0, 3, {"--from-file": False}, keep=True)[0])
        show(environment.environment(client(), words))

    def _jobs(self, rest: str) -> None:
        words, _ = _words("jobs", rest, 0, 2)
        show(aligned(jobs.jobs(self._ask, words)))

    # ---- SQL ----

    def _sql(self, rest: str, cell: str) -> Any:
        shell: Any = self.shell
        name, frame = sql_cell.run(client(), rest, cell, shell.user_ns)
        if name:
            shell.user_ns[name] = frame
        return frame

    def _changes(self, rest: str) -> None:
        given, options = _words("changes", rest, 0, 1, {"--since": True, "--limit": True})
        limit = _number(options.get("--limit", "30"))
        found = commits.listed(self._ask, given[0] if given else None, options.get("--since"), limit)
        show(aligned(commits.rows(found)))

    def _undo(self, rest: str) -> None:
        given, options = _words("undo", rest, 1, 1, {"--force": False})
        show(commits.sentence(commits.undone(self._ask, given[0], force="--force" in options)))

    @staticmethod
    def _ask(address: str, body: dict[str, Any] | None) -> Any:
        return client().admin("GET" if body is None else "POST", address, body)

    # ---- deploying ----

    def _deploy_cell(self, rest: str, cell: str) -> None:
        given, options = _words("%deploy", rest, 1, 1, {"--force": False, "-m": True})
        answer = self.deployer.from_cell(
            client(), module_name(given[0]), cell, force="--force" in options, message=options.get("-m", "")
        )
        answer.show()

    def _deploy(self, rest: str) -> None:
        given, options = _words("deploy", rest, 1, 1, {"--force": False, "-m": True})
        path = Path(given[0]).expanduser()
        answer = self.deployer.from_files(client(), path, force="--force" in options, message=options.get("-m", ""))
        answer.show()

    def _history(self, rest: str) -> None:
        given, _ = _words("history", rest, 0, 1)
        module = module_name(given[0]) if given else None
        deploys = client().admin("GET", _with_query("history", module=module))["deploys"]
        nothing = "nothing was deployed yet" if module is None else f"no module {module!r} was ever deployed"
        show(aligned([_history_facts(entry) for entry in deploys]) or nothing)

    def _source(self, rest: str) -> None:
        given, _ = _words("source", rest, 1, 2)
        module = module_name(given[0])
        said = self._source_of(module, _number(given[1]) if len(given) > 1 else None)
        connected = client()
        if len(given) == 1:
            self.deployer.see(connected, {module: said["version"]})
        note = {"deployment": deployment_of(connected), "modules": {module: said["version"]} if len(given) == 1 else {}}
        show(f"# {module} · version {said['version']}\n{said['source']}", {"nbreactive": note})

    def _diff(self, rest: str) -> None:
        given, _ = _words("diff", rest, 2, 3)
        module = module_name(given[0])
        old = self._source_of(module, _number(given[1]))
        new = self._source_of(module, _number(given[2]) if len(given) > 2 else None)
        lines = difflib.unified_diff(
            old["source"].splitlines(), new["source"].splitlines(),
            f"{module} version {old['version']}", f"{module} version {new['version']}", lineterm="",
        )  # fmt: skip
        show("\n".join(lines) or "no difference")

    def _source_of(self, module: str, version: int | None) -> dict[str, Any]:
        said = client().admin("GET", _with_query("source", module=module, version=version))
        if version is not None and said["version"] != version:  # the backend answers with what stood then
            last = client().admin("GET", "history")["deploys"][0]["version"]
            if version > last:
                raise ArgumentError(f"There is no version {version} yet: the newest is {last}, see %reactive history.")
        return said

    def _rollback(self, rest: str) -> None:
        given, _ = _words("rollback", rest, 1, 2)
        module = module_name(given[0])
        connected = client()
        number = _number(given[1]) if len(given) > 1 else None
        body = {"module": module, "version": number, "origin": self.deployer.origin(connected)}
        said = connected.admin("POST", "rollback", body)
        version = said["to"]
        connected.forget_functions()
        current = next((entry["version"] for entry in said["modules"] if entry["name"] == module), version)
        self.deployer.see(connected, {module: current})
        note = {"deployment": deployment_of(connected), "modules": {module: current}}
        show(f"{module} is as it was at version {version} again · now version {current}", {"nbreactive": note})

    def _remove(self, rest: str) -> None:
        given, options = _words("remove", rest, 1, 1, {"--force": False})
        module = module_name(given[0])
        self.deployer.remove(client(), module, force="--force" in options)
        show(f"removed {module} · its tables and their rows stay")

    def _reset(self, rest: str) -> None:
        given, options = _words("reset", rest, 1, 1, {"--yes": False})
        connected = client()
        name = connected.target.health.get("deployment", "default")
        if given[0] != name:
            raise ArgumentError(f"Nothing was deleted: this notebook is connected to the deployment {name!r}.")
        if "--yes" not in options:
            raise ArgumentError(
                f"Nothing was deleted. {_everything(connected)} of the deployment {name} would be gone for good, with all"
                f" functions, for everybody who uses it. If that is what you want: %reactive reset {name} --yes"
            )
        connected.admin("POST", "reset", {"confirm": given[0]})
        connected.forget_functions()
        self.deployer.forget(connected)
        show(f"reset {given[0]} · all its data are deleted")


def _everything(connected: Client) -> str:
    """Say what a reset takes away."""
    counts = {table["name"]: table["documents"] for table in connected.admin("GET", "tables")["tables"]}
    tables = many(len(counts), "table") + (f" ({', '.join(counts)})" if counts else "")
    return safe_text(f"{many(sum(counts.values()), 'document')} in {tables}", 1000)


def client() -> Client:
    """Return the connected client; connects if there is none."""
    connected = client_module.current()
    connected.on_logs = print_logs
    return connected


def function_path(name: str) -> str:
    """Return the path of a function as people write it: ``chat:send``, ``chat.send``, ``api.chat.send``."""
    if ":" in name:
        return path_of(name)
    parts = name.removeprefix("api.").removeprefix("internal.").replace("/", ".").split(".")
    if len(parts) < 2:
        raise ArgumentError(f"{name!r} names no function: write MODULE.FUNCTION, e.g. chat.send")
    return path_of(f"{'/'.join(parts[:-1])}:{parts[-1]}")


def module_name(name: str) -> str:
    """Return the name of a module as people write it: ``chat``, ``admin.users``, ``reactive/chat.py``."""
    return name.removesuffix(".py").removeprefix("reactive/").replace(".", "/").strip("/")


def print_logs(path: str, lines: tuple[str, ...]) -> None:
    """Print what a function printed, in the cell that called it."""
    for line in lines:
        print(f"{path} {line}")  # noqa: T201 (the output of a cell)


def _words(
    command: str, rest: str, least: int, most: int, options: dict[str, bool] | None = None, *, keep: bool = False
) -> tuple[list[str], dict[str, str]]:
    """Split a command line; ``options`` says which options there are, and whether they take a word.

    With ``keep`` options without a word stay among the words.
    """
    known = options or {}
    given: list[str] = []
    chosen: dict[str, str] = {}
    usage = f"Usage: {_CELL_USAGE if command == '%deploy' else '%reactive ' + _USAGE[command]}"
    try:
        words = shlex.split(rest)
    except ValueError as failure:
        raise ArgumentError(f"{failure}. {usage}") from None
    while words:
        word = words.pop(0)
        if word not in known:
            if word.startswith("-"):
                raise ArgumentError(f"There is no option {word}. {usage}")
            given.append(word)
        elif not known[word]:
            chosen[word] = ""
            given += [word] * keep
        elif words:
            chosen[word] = words.pop(0)
        else:
            raise ArgumentError(f"{word} needs a value. {usage}")
    if not least <= len(given) <= most:
        raise ArgumentError(usage)
    return given, chosen


def _number(text: str) -> int:
    if not text.isdigit():
        raise ArgumentError(f"{text!r} is not a version: versions are numbers, see %reactive history")
    return int(text)


def _with_query(path: str, **values: Any) -> str:
    from urllib.parse import urlencode

    asked = urlencode({name: value for name, value in values.items() if value is not None})
    return f"{path}?{asked}" if asked else path


def aligned(rows: list[list[str]]) -> str:
    """Return rows of words as lines with aligned columns."""
    widths = [max(map(len, column)) for column in itertools.zip_longest(*rows, fillvalue="")]
    lines = ["   ".join(word.ljust(width) for word, width in zip(row, widths, strict=False)).rstrip() for row in rows]
    return "\n".join(safe_text(line, 1000) for line in lines)


def _history_facts(entry: dict[str, Any]) -> list[str]:
    when = dt.datetime.fromtimestamp(entry["time"] / 1000, dt.UTC).astimezone()
    changed = [name if module is not None else f"{name} removed" for name, module in entry["modules"].items()]
    return [
        f"version {entry['version']}",
        f"{when:%Y-%m-%d %H:%M:%S}",
        entry["author"],
        ", ".join(changed),
        entry["message"],
    ]


def greet() -> None:
    """Say in one line what this notebook is connected to, or why it is not."""
    try:
        line = status_line(client())
    except NBReactiveError as failure:
        line = (
            f"not connected: {failure}"
            if isinstance(failure, NotConnected)
            else f"not connected: {type(failure).__name__}: {failure}"
        )
    print(line)  # noqa: T201 (the output of a cell)
