"""Deploying from a notebook: what this notebook has seen of each module, and what a deploy answers.

The kernel remembers the versions that it deployed or looked at. They are also kept in a file of the user's
(:mod:`nbreactive.notebook.seen`), for the next kernel of this notebook, and in the metadata of the outputs, for the
next person who opens it. What was never seen is said to be so: the backend then refuses to replace what somebody else
has put there.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nbreactive.client.client import Client
from nbreactive.errors import DeployRefused
from nbreactive.functions.paths import PACKAGE
from nbreactive.notebook.cells import safe_text
from nbreactive.notebook.errors_view import quote, remember_cell
from nbreactive.notebook.notebook_file import notebook_key, notebook_label, notebook_path, saved_versions
from nbreactive.notebook.seen import SeenVersions


@dataclass
class Deployer:
    """Deploys for one kernel."""

    shell: Any
    seen: dict[tuple[str, str], int] = field(default_factory=dict[tuple[str, str], int])
    kept: SeenVersions = field(default_factory=SeenVersions)

    def from_cell(self, client: Client, module: str, source: str, *, force: bool, message: str = "") -> Answer:
        """Deploy the source of a cell as ``module``."""
        made = [{"name": module, "source": source, "origin": self.origin(client)}]
        try:
            answer = self._deploy(client, made, force, message)
        except DeployRefused as refused:
            # not execution_count: whether that is this cell's or the next one's depends on the version of IPython
            where = f"Cell In[{len(self.shell.user_ns.get('In', ' ')) - 1}]"
            quote(refused, {f"{PACKAGE}/{module}.py": (where, f"%%reactive deploy {module}\n{source}")})
            raise
        remember_cell(module, source)
        return answer

    def origin(self, client: Client) -> dict[str, str]:
        """Return what deploys of this notebook's cells come from."""
        folder = Path(client.target.data).parent if client.target.data else None
        return {"kind": "cell", "label": notebook_label(self.shell, folder), "key": notebook_key(self.shell)}

    def from_files(self, client: Client, path: Path, *, force: bool, message: str = "") -> Answer:
        """Deploy a file, or every Python file of a folder."""
        files = sorted(path.rglob("*.py")) if path.is_dir() else [path]
        root = path if path.is_dir() else path.parent
        modules: list[dict[str, Any]] = []
        for file in files:
            relative = file.relative_to(root)
            if not file.is_file() or any(part.startswith(("_", ".")) for part in relative.parts):
                continue
            origin = {"kind": "file", "label": str(file), "key": str(file.resolve())}
            name = relative.with_suffix("").as_posix()
            modules.append({"name": name, "source": file.read_text(encoding="utf-8"), "origin": origin})
        if not modules:
            raise DeployRefused(f"There is no Python file at {path}: give a file (chat.py) or a folder of them.")
        try:
            return self._deploy(client, modules, force, message)
        except DeployRefused as refused:
            quote(refused, {f"{PACKAGE}/{m['name']}.py": (_path(m["origin"]["label"]), m["source"]) for m in modules})
            raise

    def remove(self, client: Client, module: str, *, force: bool) -> None:
        """Take a module away, if it is this notebook's and not newer than it knows."""
        body = {
            "modules": [],
            "remove": [module],
            "base": {module: self._base(client, module)},
            "origin": self.origin(client),
            "force": force,
            "message": f"removed {module}",
        }
        client.admin("POST", "deploy", body)
        client.forget_functions()

    def see(self, client: Client, versions: dict[str, int]) -> None:
        """Remember that this notebook has looked at these versions."""
        place = deployment_of(client)
        self.seen.update({(place, module): version for module, version in versions.items()})
        if notebook_path(self.shell) is not None:  # without its path, notebooks of one folder could not be told apart
            self.kept.put(place, notebook_key(self.shell), versions)

    def forget(self, client: Client) -> None:
        """Forget what was seen of a deployment that was reset."""
        place = deployment_of(client)
        self.seen = {key: version for key, version in self.seen.items() if key[0] != place}
        self.kept.forget(place)

    def _base(self, client: Client, module: str) -> int | None:
        place = deployment_of(client)
        if (place, module) in self.seen:
            return self.seen[place, module]
        known = [saved_versions(place, self.shell).get(module)]
        if notebook_path(self.shell) is not None:
            known.append(self.kept.get(place, notebook_key(self.shell), module))
        return max((version for version in known if version is not None), default=None)

    def _deploy(self, client: Client, modules: list[dict[str, Any]], force: bool, message: str) -> Answer:
        base = {module["name"]: self._base(client, module["name"]) for module in modules}
        body = {"modules": modules, "remove": [], "base": base, "force": force, "message": message}
        said = client.admin("POST", "deploy", body)
        functions = [function for module in said.get("modules", []) for function in module.get("functions", [])]
        client.forget_functions(functions)
        answer = Answer(deployment_of(client), said)
        self.see(client, answer.versions)
        return answer


def _path(label: str) -> str:
    """Return a path in such a way that front ends see that it is one."""
    return label if label.startswith(("/", "~", "./", "../")) or label[1:2] == ":" else f"./{label}"


def deployment_of(client: Client) -> str:
    """Return the name of a deployment, as outputs keep it: its address without credentials."""
    return client.target.data or client.target.base


@dataclass(frozen=True)
class Answer:
    """What a deploy did; shows itself, with the versions in its metadata."""

    deployment: str
    said: dict[str, Any]

    @property
    def versions(self) -> dict[str, int]:
        """Version of each module that was deployed."""
        return {module["name"]: module["version"] for module in self.said.get("modules", [])}

    @property
    def text(self) -> str:
        """The answer in words."""
        if self.said.get("unchanged"):
            names = ", ".join(f"{name} (version {version})" for name, version in self.versions.items())
            return f"unchanged: {names}"
        lines: list[str] = []
        for module in self.said.get("modules", []):
            lines.append(f"deployed {module['name']} · version {module['version']} of this deployment")
            lines += [f"  {signature(function)}" for function in module.get("functions", [])]
        rerun = self.said.get("rerun", 0)
        if rerun:
            lines.append(f"{rerun} live quer{'y' if rerun == 1 else 'ies'} run again")
        lines += [f"warning: {warning}" for warning in self.said.get("warnings", [])]
        return "\n".join(safe_text(line, 1000) for line in lines)

    def show(self) -> None:
        """Display it."""
        show(self.text, {"nbreactive": {"deployment": self.deployment, "modules": self.versions}})


def show(text: str, metadata: dict[str, Any] | None = None) -> None:
    """Display text as it is, in any front end."""
    from IPython.display import publish_display_data

    publish_display_data({"text/plain": text}, metadata or {})


def signature(function: dict[str, Any] | str) -> str:
    """Return a function as people read it: ``query chat.list_messages(limit?)``."""
    if isinstance(function, str):
        return function
    hidden = "internal_" if function.get("visibility") == "internal" else ""
    fields = (function.get("args") or {}).get("value")
    names = []
    for name, field_ in fields.items() if isinstance(fields, dict) else []:
        optional = isinstance(field_, dict) and field_.get("optional")
        names.append(f"{name}?" if optional else name)
    path = str(function.get("path", "")).replace("/", ".").replace(":", ".")
    return f"{hidden}{function.get('kind', '')} {path}({', '.join(names)})"
