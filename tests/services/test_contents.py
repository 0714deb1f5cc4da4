"""Contents: kept while somebody names them, collected when nobody has for long."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbreactive.engine.transactions import NewFile
from nbreactive.errors import InvalidValue, LimitExceeded, MissingPackage
from nbreactive.runtime.frames import Ask
from nbreactive.services.action_files import ActionFiles
from nbreactive.services.blobs import Blobs
from nbreactive.services.contents import Contents

if TYPE_CHECKING:
    from nbreactive.services.files import Files


def new(data: bytes) -> NewFile:
    return NewFile(hashlib.sha256(data).hexdigest(), data)


def run(folder: Path, work: Callable[[Contents], Awaitable[Any]], most: int = 1000) -> Any:
    async def main() -> Any:
        contents = Contents(Blobs(folder), most)
        await contents.open()
        try:
            return await work(contents)
        finally:
            await contents.close()

    return asyncio.run(main())


def names(contents: Contents) -> set[str]:
    return {name for name, _ in contents.blobs.names()}


def incoming(folder: Path) -> list[Path]:
    return list((folder / "incoming").iterdir())


def test_what_is_not_named_in_the_end_goes_at_once(tmp_path: Path) -> None:
    async def work(contents: Contents) -> None:
        with pytest.raises(RuntimeError):
            async with contents.keep([new(b"one"), new(b"two")]):
                assert names(contents) == {new(b"one").sha256, new(b"two").sha256}
                raise RuntimeError
        assert names(contents) == set()
        async with contents.keep([new(b"one")]):
            pass
        with pytest.raises(RuntimeError):
            async with contents.keep([new(b"one"), new(b"two")]):
                raise RuntimeError
        assert names(contents) == {new(b"one").sha256}  # it was there before

    run(tmp_path, work)
    assert incoming(tmp_path) == []


def test_two_who_name_the_same_content_at_once(tmp_path: Path) -> None:
    async def one(contents: Contents, inside: asyncio.Event, go: asyncio.Event, fail: bool) -> None:
        async with contents.keep([new(b"shared")]):
            inside.set()
            await go.wait()
            if fail:
                raise RuntimeError

    async def work(contents: Contents) -> None:
        for first, second, there in ((True, False, True), (False, True, True), (True, True, False)):
            gates = [asyncio.Event() for _ in range(4)]
            tasks = [asyncio.create_task(one(contents, gates[n], gates[n + 2], (first, second)[n])) for n in range(2)]
            await asyncio.gather(gates[0].wait(), gates[1].wait())
            for n in range(2):
                gates[n + 2].set()
                await asyncio.wait([tasks[n]])
            await asyncio.gather(*tasks, return_exceptions=True)
            assert (names(contents) == {new(b"shared").sha256}) is there
            if there:
                await contents.run(contents.blobs.remove, new(b"shared").sha256)

    run(tmp_path, work)


def test_a_sweep_spares_what_is_being_named_and_what_has_just_been(tmp_path: Path) -> None:
    async def work(contents: Contents) -> None:
        for data in (b"old", b"pinned", b"fresh", b"named"):
            async with contents.keep([new(data)]):
                pass

        async def named() -> set[str]:
            # While it looks, one content is named anew
            async with contents.keep([new(b"fresh")]):
                pass
            return {new(b"named").sha256}

        assert await contents.sweep(3600, named) == 0
        async with contents.keep([new(b"pinned")]):
            assert await contents.sweep(0, named) == 1
        assert names(contents) == {new(data).sha256 for data in (b"pinned", b"fresh", b"named")}

        async def nothing() -> set[str]:
            return set()

        assert await contents.sweep(0, nothing) == 3
        assert names(contents) == set()

    run(tmp_path, work)


def test_limits_and_checksums(tmp_path: Path) -> None:
    async def work(contents: Contents) -> None:
        with pytest.raises(LimitExceeded):
            async with contents.keep([new(bytes(1001))]):
                raise AssertionError
        with pytest.raises(InvalidValue, match="the checksum of another"):
            async with contents.keep([NewFile("0" * 64, b"x")]):
                raise AssertionError
        receiving = await contents.receive()
        with pytest.raises(LimitExceeded):
            await receiving.write(bytes(1001))
        await receiving.discard()

    run(tmp_path, work)
    assert incoming(tmp_path) == []


def test_a_content_of_the_wrong_size_is_replaced(tmp_path: Path) -> None:
    (tmp_path / new(b"whole").sha256).write_bytes(b"who")

    async def work(contents: Contents) -> None:
        async with contents.keep([new(b"whole")]):
            pass

    run(tmp_path, work)
    assert (tmp_path / new(b"whole").sha256).read_bytes() == b"whole"


@pytest.mark.parametrize("name", ["../x", "x", "", "0" * 63, "A" * 64, "0" * 64 + "/..", "incoming"])
def test_other_names_are_no_contents(tmp_path: Path, name: str) -> None:
    blobs = Blobs(tmp_path)
    with pytest.raises(FileNotFoundError):
        blobs.open(name)
    with pytest.raises(FileNotFoundError):
        blobs.size(name)


def test_places_that_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(InvalidValue, match="is not a place for files"):
        Blobs(tmp_path, "nonsense://key:secret@x/y")
    with pytest.raises(MissingPackage, match="files at gs://bucket need"):
        Blobs(tmp_path, "gs://bucket")


@given(st.binary(max_size=60), st.lists(st.tuples(st.integers(0, 70), st.integers(0, 70)), max_size=20))
def test_reads_of_an_object_are_those_of_its_bytes(data: bytes, reads: list[tuple[int, int]]) -> None:
    from nbreactive.services import blobs

    class Store:
        def cat_file(self, _path: str, start: int, end: int) -> bytes:
            return data[start:end]

    before, blobs._AHEAD = blobs._AHEAD, 7
    try:
        reading = blobs._RemoteFile(Store(), "x", len(data))
        for offset, length in reads:
            assert reading.read(offset, length) == data[offset : offset + length]
    finally:
        blobs._AHEAD = before


def test_what_an_action_began_to_store_and_did_not_wait_for_leaves_nothing(tmp_path: Path) -> None:
    async def work(contents: Contents) -> None:
        files = ActionFiles(cast("Files", contents))  # that it can receive is all that is asked of it here
        asked = [asyncio.create_task(files.answer(Ask(1, number, "file", "begin"))) for number in range(8)]
        await asyncio.sleep(0)
        for task in asked[:4]:
            task.cancel()
        await files.close()
        await asyncio.gather(*asked, return_exceptions=True)
        while incoming(tmp_path):
            await asyncio.sleep(0.01)

    run(tmp_path, work)
