"""The packages of a folder with a package.json, installed as its lock file says."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

needs_node = pytest.mark.skipif(
    shutil.which("node") is None or shutil.which("npm") is None, reason="needs node and npm"
)


def provide(folder: Path) -> None:
    """Install what ``package.json`` asks for, unless it is there (``./dev test`` has done so)."""
    wanted = json.loads((folder / "package.json").read_text())
    if all(_version(folder, name) == version for kind in _KINDS for name, version in wanted.get(kind, {}).items()):
        return
    npm = shutil.which("npm")
    assert npm is not None
    subprocess.run(
        [npm, "ci", "--no-audit", "--no-fund", "--legacy-peer-deps", "--loglevel=error"], cwd=folder, check=True
    )


_KINDS = ("dependencies", "devDependencies")


def _version(folder: Path, name: str) -> str | None:
    manifest = folder / "node_modules" / name / "package.json"
    return json.loads(manifest.read_text())["version"] if manifest.exists() else None
