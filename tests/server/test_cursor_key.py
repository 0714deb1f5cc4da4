"""The key of cursors: one per data folder, its owner's only, and never half a key."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from nbreactive.server.data_folder import cursor_key


def test_the_key_is_made_once(tmp_path: Path) -> None:
    key = cursor_key(tmp_path)
    assert len(key) == 32
    assert cursor_key(tmp_path) == key
    other = tmp_path / "other"
    other.mkdir()
    assert cursor_key(other) != key
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["cursor.key"]


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX's")
def test_only_its_owner_reads_it(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        cursor_key(tmp_path)
    finally:
        os.umask(before)
    assert (tmp_path / "cursor.key").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("damaged", [b"", b"short", bytes(33)])
def test_a_damaged_key_is_a_lost_one(tmp_path: Path, damaged: bytes) -> None:
    (tmp_path / "cursor.key").write_bytes(damaged)
    key = cursor_key(tmp_path)
    assert key != damaged
    assert cursor_key(tmp_path) == key
