"""Giving back what the row index does not need any more.

LMDB's file never becomes shorter: where many versions came and went in a minute, most of its pages are free afterwards
and wait for the next such minute. Those that are left are half empty, as deletions leave them. Such a file is written anew
before anybody opens it: entry by entry, which fills the pages, or page by page if that would hold up the start. The copy has another inode
than the marker beside it says (:mod:`nbreactive.engine._trust`), so a crash on the way leaves a file that is
not believed, and filled anew.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

import lmdb

from nbreactive.engine import _trust

_WORTHWHILE = 4 << 20
"""Bytes of free pages below which a file is left as it is."""
_PACKED = 64 << 20
"""Bytes of pages in use up to which these are filled; that takes half a second."""


def slim(folder: Path, env: lmdb.Environment, names: tuple[str, ...]) -> bool:
    """Write the file anew if most of it is free; then True, and ``env``, which nobody else may use, is closed."""
    with env.begin() as txn:
        there = {bytes(name).decode() for name in txn.cursor().iternext(values=False)}
    names = tuple(name for name in names if name in there)  # an older version had fewer
    size = env.stat()["psize"]
    pages = env.info()["last_pgno"] + 1
    if (pages - _used(env, names)) * size < _WORTHWHILE or _used(env, names) * 2 > pages:
        return False
    place = folder / "slim"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    try:
        if _used(env, names) * size <= _PACKED:
            _pack(env, place, names)
        else:
            env.copy(str(place), compact=True)
        with (place / "data.mdb").open("rb+") as copy:
            os.fsync(copy.fileno())
    except (lmdb.Error, OSError):  # no room for the copy, say: the file is as good
        shutil.rmtree(place, ignore_errors=True)
        return False
    env.close()
    with contextlib.suppress(FileNotFoundError):
        (folder / "lock.mdb").unlink()
    (place / "data.mdb").replace(folder / "data.mdb")
    shutil.rmtree(place, ignore_errors=True)
    _trust.mark(folder, clean=False)
    return True


def _pack(env: lmdb.Environment, place: Path, names: tuple[str, ...]) -> None:
    with (
        contextlib.closing(lmdb.Environment(str(place), map_size=2 * _PACKED, max_dbs=len(names), sync=False)) as new,
        env.begin() as old,
        new.begin(write=True) as txn,
    ):
        for name in map(str.encode, names):
            entries = old.cursor(env.open_db(name, old, create=False))
            txn.cursor(new.open_db(name, txn)).putmulti(entries, append=True)


def _used(env: lmdb.Environment, names: tuple[str, ...]) -> int:
    total = 2  # LMDB's two pages about itself
    with env.begin() as txn:
        for stat in (env.stat(), *(txn.stat(env.open_db(name.encode(), txn, create=False)) for name in names)):
            total += stat["branch_pages"] + stat["leaf_pages"] + stat["overflow_pages"]
    return total
