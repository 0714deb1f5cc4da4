"""A restore says that it is done when all of it is durable, and leaves nothing when it is not."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from nbreactive.engine.entries import Entry, encode_entry
from nbreactive.engine.files import Disk, DiskFile
from nbreactive.engine.transactions import Write
from nbreactive.errors import NBReactiveError
from nbreactive.services.backup import folder_log, write_backup
from nbreactive.services.restore import restore


class WatchedDisk(Disk):
    """Remembers what was flushed; from some flush on it is broken, before the data or after it."""

    def __init__(self, breaks_at: int = 1 << 30, after: bool = False, healed: int = 1 << 30) -> None:
        self.synced: list[Path] = []
        self.calls = 0
        self.breaks_at = breaks_at
        self.after = after
        self.healed = healed

    def trip(self) -> None:
        self.calls += 1
        if self.breaks_at <= self.calls < self.healed:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    def open(self, path: Path, *, create: bool = False) -> DiskFile:
        return self.watched(super().open(path, create=create), path)

    def make(self, path: Path) -> DiskFile:
        return self.watched(super().make(path), path)

    def watched(self, file: DiskFile, path: Path) -> DiskFile:
        sync = file.sync

        def note() -> None:
            if self.after:
                sync()
            self.trip()
            sync()
            self.synced.append(path)

        file.sync = note  # type: ignore[method-assign]
        return file

    def sync_folder(self, folder: Path) -> None:
        super().sync_folder(folder)
        self.synced.append(folder)


def backup(folder: Path, commits: int = 3) -> Path:
    entries = [
        Entry(ts, 0, [Write(10_001, b"%016d" % ts, os.urandom(700_000), 0)], None) for ts in range(1, commits + 1)
    ]
    write_backup(folder / "backup", iter([[encode_entry(entry)] for entry in entries]))
    return folder / "backup"


def timestamps(folder: Path) -> int:
    _, _, batches = folder_log(folder)
    return sum(len(batch) for batch in batches)


def test_everything_that_was_made_is_durable(tmp_path: Path) -> None:
    disk, folder = WatchedDisk(), tmp_path / "new" / "deep" / "data"
    assert restore(backup(tmp_path), folder, files=disk) == 3
    draft = next(path.parent for path in disk.synced if path.name == "format")
    assert draft.parent == folder.parent
    # Files, then the names in their folders, then the name of the whole in the folders that were made for it
    named = [path.relative_to(draft) if path.is_relative_to(draft) else path for path in disk.synced]
    made = {Path("format"), Path("log"), *(Path("log") / path.name for path in (folder / "log").iterdir())}
    assert made <= set(named)
    last = {path: number for number, path in enumerate(named)}
    assert last[Path()] > max(last[path] for path in made)
    assert named[-3:] == [folder.parent, folder.parent.parent, tmp_path]


@pytest.mark.parametrize("after", [False, True])
def test_a_disk_that_breaks_at_any_flush_leaves_nothing_and_nobody_is_told_otherwise(
    tmp_path: Path, after: bool
) -> None:
    file = backup(tmp_path)
    whole = WatchedDisk()
    restore(file, tmp_path / "whole", files=whole)

    def tries(disk: Callable[[int], WatchedDisk]) -> list[bool]:
        done: list[bool] = []
        for call in range(1, whole.calls + 1):
            folder = tmp_path / f"{disk(call).healed}-{call}"
            try:
                restore(file, folder, files=disk(call))
            except (NBReactiveError, OSError):
                assert not folder.exists()
                done.append(False)
            else:
                assert timestamps(folder) == 3
                done.append(True)
            assert not list(tmp_path.glob(".*"))
        return done

    assert not any(tries(lambda call: WatchedDisk(call, after)))
    for flushes in (1, 2, 3):  # the third finds out what became of the first
        assert any(tries(lambda call, flushes=flushes: WatchedDisk(call, after, call + flushes))) == (flushes != 2)


_SLOWLY = """
import sys
from pathlib import Path
from nbreactive.services.restore import restore

def wait(count):
    print("begun", flush=True)
    sys.stdin.read()

restore(Path(sys.argv[1]), Path(sys.argv[2]), progress=wait)
"""


def test_the_next_restore_removes_what_a_killed_one_has_left_and_only_that(tmp_path: Path) -> None:
    file, folder = backup(tmp_path), tmp_path / "data"
    command = [sys.executable, "-c", _SLOWLY, str(file), str(folder)]
    env = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}

    def begin() -> subprocess.Popen[bytes]:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env)
        assert process.stdout is not None
        assert process.stdout.readline() == b"begun\n"
        return process

    with begin() as killed, begin() as at_work:
        killed.kill()
        killed.wait()
        assert len(list(tmp_path.glob(".data.*.restoring"))) == 2
        assert restore(file, folder) == 3
        assert [path.name for path in tmp_path.glob(".data.*")] == [f".data.{at_work.pid}.restoring"]
        assert sorted(path.name for path in folder.iterdir()) == ["format", "log"]
        at_work.kill()
