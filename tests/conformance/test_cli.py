"""``npx convex``, the official command line, at a self-hosted address: docs/convex-cli.md, command by command."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.conformance.functions import MODULE
from tests.conformance.packages import needs_node, provide
from tests.conformance.proxy import SECONDS
from tests.served import KEY, Served

pytestmark = [pytest.mark.slow, needs_node]
NPM = Path(__file__).parent / "npm"
DOCS = Path(__file__).parents[2] / "docs" / "convex-cli.md"
WORKS = {"run", "env", "data", "logs", "function-spec", "network-test"}


class Cli:
    """The command line, told where the backend is by its environment, in a project of its own."""

    def __init__(self, backend: Served, project: Path) -> None:
        provide(NPM)
        self.project = project
        (project / "package.json").write_bytes((NPM / "package.json").read_bytes())
        (project / "node_modules").symlink_to(NPM / "node_modules")
        self.command = ["node", str(NPM / "node_modules" / "convex" / "bin" / "main.js")]
        self.env = {
            **os.environ,
            "CONVEX_SELF_HOSTED_URL": backend.url,
            "CONVEX_SELF_HOSTED_ADMIN_KEY": KEY,
            "CI": "1",
        }

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start a command that goes on."""
        pipe = subprocess.PIPE
        return subprocess.Popen(
            [*self.command, *arguments], cwd=self.project, env=self.env, stdout=pipe, stderr=pipe, text=True
        )

    def run(self, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run a command."""
        return subprocess.run(
            [*self.command, *arguments],
            cwd=self.project,
            env=self.env,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )

    def prints(self, *arguments: str, stdin: str = "") -> str:
        """Run a command, which succeeds; what it prints."""
        done = self.run(*arguments, stdin=stdin)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def fails(self, *arguments: str) -> str:
        """Run a command, which fails; what it says."""
        done = self.run(*arguments)
        assert done.returncode != 0, done.stdout
        return done.stderr


@pytest.fixture
def cli(backend: Served, tmp_path: Path) -> Cli:
    return Cli(backend, tmp_path)


def test_run(cli: Cli) -> None:
    assert json.loads(cli.prints("run", "conform:add", '{"text": "from the command line"}')) == "from the command line"
    [document] = json.loads(cli.prints("run", "api.conform.list"))
    assert document["text"] == "from the command line"
    assert cli.prints("run", "conform:whoami", "--identity", '{"subject": "alice"}').strip() == '"alice"'
    assert "ValueError: no good" in cli.fails("run", "conform:crash")
    assert "Could not find public function for 'conform:lst'" in cli.fails("run", "conform:lst")
    # A query can be watched.
    watching = cli.start("run", "conform:total", "--watch")
    try:
        assert watching.stdout is not None and watching.stdout.readline().strip() == "1"
        cli.prints("run", "conform:add", '{"text": "another"}')
        assert watching.stdout.readline().strip() == "2"
    finally:
        watching.kill()
        watching.communicate()


def test_env(cli: Cli) -> None:
    cli.prints("env", "set", "MODEL", "small")
    cli.prints("env", "set", "--force", stdin="MODEL=large\nGREETING='hello you'\n")
    assert cli.prints("env", "get", "MODEL").strip() == "large"
    assert cli.prints("env", "list", "--include-values").splitlines() == ["GREETING=hello you", "MODEL=large"]
    cli.prints("env", "remove", "GREETING")
    assert cli.prints("env", "list", "--names-only").split() == ["MODEL"]


def test_data(cli: Cli, backend: Served) -> None:
    for text in "abc":
        backend.call("mutation", "conform:keep", value=text)
    assert "values" in cli.prints("data").split()
    shown = cli.prints("data", "values", "--limit", "2", "--format", "jsonLines").splitlines()
    assert [json.loads(line)["value"] for line in shown] == ["c", "b"]
    assert [json.loads(line)["value"] for line in cli.prints("data", "values", "--order", "asc", "--format", "jsonLines").splitlines()] == ["a", "b", "c"]  # fmt: skip
    assert "There are no documents" in cli.run("data", "_scheduled_functions").stderr


def test_function_spec(cli: Cli, backend: Served) -> None:
    spec = json.loads(cli.prints("function-spec"))
    assert spec["url"] == backend.url
    functions = {function["identifier"]: function for function in spec["functions"]}
    assert set(functions) == {f"conform.js:{name}" for name in re.findall(r"^def (\w+)", MODULE, re.MULTILINE)}
    text = {"fieldType": {"type": "string"}, "optional": False}
    assert functions["conform.js:add"] == {
        "identifier": "conform.js:add",
        "functionType": "Mutation",
        "visibility": {"kind": "public"},
        "args": {"type": "object", "value": {"text": text}},
        "returns": {"type": "any"},
    }


def test_logs(cli: Cli, backend: Served) -> None:
    watching = cli.start("logs", "--history", "100", "--success")
    try:
        assert watching.stdout is not None and watching.stderr is not None
        while "Watching logs" not in (line := watching.stderr.readline()):
            assert line
        backend.call("mutation", "conform:add", text="for the log")
        backend.ask("mutation", "conform:crash")
        seen: list[str] = []
        wanted = ["[CONVEX M(conform:add)] [LOG] adding for the log", "ValueError: no good"]
        while not all(any(text in line for line in seen) for text in wanted):
            seen.append(watching.stdout.readline())
            assert seen[-1], seen
        assert any("[CONVEX M(conform:add)] Function executed in" in line for line in seen)
    finally:
        watching.kill()
        watching.communicate()


def test_network_test(cli: Cli) -> None:
    assert "Network test passed" in cli.run("network-test").stderr


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["run", "--inline-query", 'await ctx.db.query("notes").collect()'], "queries here are Python"),
        (["deploy"], "functions here are Python"),
        (["dev", "--once"], "functions here are Python"),
        (["codegen"], "functions here are Python"),
        (["export", "--path", "never.zip"], "use `nbreactive export`"),
    ],
    ids=lambda given: given[0] if isinstance(given, list) else "",
)
def test_what_cannot_work_says_so_at_once(cli: Cli, arguments: list[str], reason: str) -> None:
    assert reason in cli.fails(*arguments)


def test_the_documentation_names_every_command(cli: Cli) -> None:
    commands = set(re.findall(r"^  ([a-z-]+)", cli.prints("--help").partition("Commands:")[2], re.MULTILINE)) - {"help"}
    works, _, cannot = DOCS.read_text("utf-8").partition("## What cannot work")
    assert set(re.findall(r"^\| `([a-z-]+)", works, re.MULTILINE)) == WORKS
    assert len(commands) > 15
    assert commands - WORKS <= set(re.findall(r"`([a-z-]+)[^`]*`", cannot)), commands
