"""File storage in the testing kit."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from nbreactive import api
from nbreactive.errors import FunctionFailed, InvalidValue, LimitExceeded, Refused
from nbreactive.testing import Backend

MODULE = """
from nbreactive import Id, action, mutation, query

@mutation
def generate(ctx, max_size: int | None = None, content_type: str | None = None):
    return ctx.storage.generate_upload_url(max_size=max_size, content_type=content_type)

@query
def url(ctx, id: Id["_storage"]):
    return ctx.storage.get_url(id)

@mutation
def put(ctx, data: bytes, fail: bool = False):
    id = ctx.storage.store(data)
    if fail:
        raise ValueError
    return id

@mutation
def drop(ctx, id: Id["_storage"]):
    ctx.storage.delete(id)

@action
async def double(ctx, id: Id["_storage"]):
    file = await ctx.storage.get(id)
    return await ctx.storage.store(await file.bytes() * 2, content_type="text/plain")

@action
def size(ctx, id: Id["_storage"]):
    return sum(len(piece) for piece in ctx.storage.get(id))
"""


@pytest.fixture
def t() -> Iterator[Backend]:
    with Backend({"files": MODULE}) as backend:
        yield backend


def test_uploads_downloads_and_live_addresses(t: Backend) -> None:
    address = t.mutation(api.files.generate)
    id = t.upload(address, b"hello", content_type="text/plain")
    live = t.live(api.files.url, id=id)
    assert t.download(live.value) == b"hello"
    with pytest.raises(Refused, match="has been used"):
        t.upload(address, b"again")
    t.mutation(api.files.drop, id=id)
    assert live.value is None
    with pytest.raises(Refused, match="has been used"):
        t.upload(address, b"again")
    expired = t.mutation(api.files.generate)
    t.advance(3601)
    with pytest.raises(Refused, match="has expired"):
        t.upload(expired, b"late")
    with pytest.raises(LimitExceeded):
        t.upload(t.mutation(api.files.generate, max_size=2), b"three")
    with pytest.raises(InvalidValue, match="image"):
        t.upload(t.mutation(api.files.generate, content_type="image/*"), b"x", content_type="text/plain")


def test_mutations_and_actions(t: Backend) -> None:
    id = t.mutation(api.files.put, data=b"ab")
    with pytest.raises(FunctionFailed):
        t.mutation(api.files.put, data=b"never", fail=True)
    doubled = t.action(api.files.double, id=id)
    assert t.download(t.query(api.files.url, id=doubled)) == b"abab"
    assert t.action(api.files.size, id=doubled) == 4
    assert t.run(lambda ctx: [file["size"] for file in ctx.db.system.query("_storage")]) == [2, 4]
