"""Uploads and downloads of a script, against a real backend."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import pytest

import nbreactive
from nbreactive import api
from nbreactive.client.files import own_address
from nbreactive.client.target import Target
from nbreactive.errors import ArgumentError, Refused
from tests.served import Served

MODULE = """
from nbreactive import Id, mutation, query

@mutation
def generate(ctx, max_size: int | None = None):
    return ctx.storage.generate_upload_url(max_size=max_size)

@query
def url(ctx, id: Id["_storage"]):
    return ctx.storage.get_url(id)

@query
def metadata(ctx, id: Id["_storage"]):
    return ctx.storage.get_metadata(id)

@mutation
def drop(ctx, id: Id["_storage"]):
    ctx.storage.delete(id)
"""


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    # As behind a proxy: what functions say is not where this process goes
    options = ("--url", "https://files.example.com")
    with Served(tmp_path_factory.mktemp("backend"), {"files": MODULE}, *options) as running:
        nbreactive.connect(running.url)
        try:
            yield running
        finally:
            from nbreactive.client import disconnect

            disconnect()


def test_the_guide_s_example_in_python(backend: Served) -> None:
    id = nbreactive.upload(api.files.generate(), b"hello", content_type="text/plain")
    live = api.files.url.live(id=id)
    assert live.value.startswith("https://files.example.com/")
    assert nbreactive.download(live.value) == b"hello"
    assert api.files.metadata(id=id)["contentType"] == "text/plain"
    address = live.value
    api.files.drop(id=id)
    with pytest.raises(nbreactive.NBReactiveError, match="no such file"):
        nbreactive.download(address)


def test_paths_and_open_files(backend: Served, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"ab" * 1_500_000)
    first = nbreactive.upload(api.files.generate(), path)
    second = nbreactive.upload(api.files.generate(), str(path))
    third = nbreactive.upload(api.files.generate(), io.BytesIO(path.read_bytes()))
    again = tmp_path / "again"
    for id in (first, second, third):
        assert nbreactive.download(api.files.url(id=id), again) is None
        assert again.read_bytes() == path.read_bytes()


def test_refusals_are_the_errors_that_they_are(backend: Served) -> None:
    address = api.files.generate()
    nbreactive.upload(address, b"once")
    with pytest.raises(Refused, match="has been used"):
        nbreactive.upload(address, b"twice")
    with pytest.raises(nbreactive.NBReactiveError, match="at most 3 are allowed"):
        nbreactive.upload(api.files.generate(max_size=3), b"x" * 5_000_000)
    with pytest.raises(ArgumentError, match="a path, or a file"):
        nbreactive.upload(api.files.generate(), 5)


@pytest.mark.parametrize(
    "bad", ["https://evil.example.com/", "http://x/api/storage/upload", "http://x/api/storage/..", ""]
)
def test_other_addresses_are_refused(bad: str) -> None:
    with pytest.raises(ArgumentError, match="no address of a stored file"):
        own_address(Target("http://127.0.0.1:1"), bad)


def test_credentials_go_nowhere_else() -> None:
    uuid = "01234567-89ab-cdef-0123-456789abcdef"
    target = Target("http://h:1/user/a/nbreactive/staging", "jupyter")
    assert own_address(target, f"https://evil.example.com/api/storage/{uuid}") == f"{target.base}/api/storage/{uuid}"
    signed = "https://evil.example.com/api/storage/upload?token=abc"
    assert own_address(target, signed) == f"{target.base}/api/storage/upload?upload_token=abc"
