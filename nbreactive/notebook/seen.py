"""What this user's notebooks have seen of each module, kept over restarts of their kernels.

Saved outputs say it too, but only once the notebook is saved: a kernel that is restarted before would be refused to
deploy its own module again. So every version that a notebook deploys or looks at is also written into one small file
of the user's. It is keyed by the notebook: what another notebook has seen does not count. The file is bounded, always
replaced as a whole, and never needed: what cannot be read or written there is as if it had not been seen.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any, cast

from filelock import FileLock
from filelock import Timeout as LockTimeout

KEPT = 1000
"""Notes that are kept; the oldest go."""
_LONGEST = 4_000_000
_PATIENCE = 2.0

Note = tuple[str, str, str, int]
"""Deployment, notebook, module, version."""


def seen_file() -> Path:
    """Return where this user's notes are."""
    from jupyter_core.paths import jupyter_data_dir

    return Path(jupyter_data_dir()) / "nbreactive" / "seen.json"


class SeenVersions:
    """The notes of one user."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path

    @property
    def path(self) -> Path:
        """The file."""
        if self._path is None:
            self._path = seen_file()
        return self._path

    def get(self, deployment: str, notebook: str, module: str) -> int | None:
        """Return the version which ``notebook`` saw last, if any."""
        for note in self._read():
            if note[:3] == (deployment, notebook, module):
                return note[3]
        return None

    def put(self, deployment: str, notebook: str, versions: dict[str, int]) -> None:
        """Note what ``notebook`` has seen."""
        keys = {(deployment, notebook, module) for module in versions}
        new: list[Note] = [(deployment, notebook, module, version) for module, version in versions.items()]
        self._change(lambda notes: [*new, *(note for note in notes if note[:3] not in keys)])

    def forget(self, deployment: str) -> None:
        """Forget a deployment: it was reset, its versions begin anew."""
        self._change(lambda notes: [note for note in notes if note[0] != deployment])

    def _change(self, change: Any) -> None:
        with contextlib.suppress(OSError, LockTimeout):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(f"{self.path}.lock", timeout=_PATIENCE):
                self._write(change(self._read())[:KEPT])

    def _read(self) -> list[Note]:
        """Return the notes, newest first."""
        try:
            if self.path.stat().st_size > _LONGEST:
                return []
            said: Any = json.loads(self.path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return []
        notes: list[Note] = []
        for entry in cast("list[Any]", said) if isinstance(said, list) else []:
            match entry:
                case [str(deployment), str(notebook), str(module), int(version)]:
                    notes.append((deployment, notebook, module, version))
                case _:
                    continue
        return notes

    def _write(self, notes: list[Note]) -> None:
        handle, name = tempfile.mkstemp(dir=self.path.parent, prefix="seen-", suffix=".json")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                json.dump(notes, file, ensure_ascii=False, indent=0)
            Path(name).replace(self.path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
