"""Upload tokens, and what a function may write into ``_storage``."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbreactive.engine.catalog import STORAGE, Catalog
from nbreactive.engine.prepare import check_writes
from nbreactive.engine.stored_files import check_type, stored_document
from nbreactive.engine.transactions import NewFile, Write
from nbreactive.engine.upload_tokens import UploadToken, fits_type, open_upload, sign_upload
from nbreactive.errors import InvalidValue, Refused
from nbreactive.values.packing import pack

KEY = bytes(range(32))
TOKENS = st.builds(
    UploadToken,
    st.binary(min_size=16, max_size=16),
    st.integers(1, 2**53),
    st.none() | st.integers(0, 2**53),
    st.none() | st.sampled_from(["image/png", "image/*", "text/plain; charset=utf-8"]),
)
DATA = b"a content"
SHA = hashlib.sha256(DATA).hexdigest()


@given(TOKENS, st.data())
def test_a_token_is_good_as_it_is_and_in_no_other_form(token: UploadToken, data: st.DataObject) -> None:
    text = sign_upload(KEY, "default", token)
    assert open_upload(KEY, "default", text, token.expires - 1) == token
    with pytest.raises(Refused, match="expired"):
        open_upload(KEY, "default", text, token.expires)
    for key, deployment in ((b"another", "default"), (KEY, "staging")):
        with pytest.raises(Refused, match="not one of this deployment"):
            open_upload(key, deployment, text, 0)
    raw = bytearray(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(Refused, match="not one of this deployment"):
        open_upload(KEY, "default", base64.urlsafe_b64encode(raw).rstrip(b"=").decode(), 0)


@given(st.text())
def test_no_text_is_a_token(text: str) -> None:
    with pytest.raises(Refused):
        open_upload(KEY, "default", text, 0)


@pytest.mark.parametrize(
    ("wanted", "given_", "fits"),
    [
        (None, None, True),
        ("image/*", "image/png", True),
        ("image/*", "IMAGE/PNG; q=1", True),
        ("image/*", "imagex/png", False),
        ("image/*", "image", False),
        ("text/plain", "text/html", False),
        ("text/plain", None, False),
    ],
)
def test_types_fit(wanted: str | None, given_: str | None, fits: bool) -> None:
    assert fits_type(wanted, given_) is fits


@pytest.mark.parametrize(
    "bad", ["", "text", "text/", "a b/c", "text/plain\r\nX: y", "text/plain;", "é/x", "x/" + "y" * 300]
)
def test_what_is_no_content_type(bad: str) -> None:
    if bad == "text/plain;":  # an empty parameter is allowed (RFC 9110)
        assert check_type(bad, "") == bad
        return
    with pytest.raises(InvalidValue):
        check_type(bad, "content_type")


def written(document: dict[str, Any] | None, previous: int = 0) -> list[Write]:
    return [Write(STORAGE, bytes(16), pack(document) if document is not None else None, previous)]


GOOD = stored_document(SHA, len(DATA), "image/png", 1.0)


def test_a_function_writes_files_that_it_sends_and_deletes_others() -> None:
    check_writes(written(GOOD), Catalog(), "public", files=[NewFile(SHA, DATA)])
    check_writes(written(None, 5), Catalog(), "public")


@pytest.mark.parametrize(
    ("document", "previous", "files"),
    [
        (GOOD, 0, []),  # somebody else's content, by its checksum
        (GOOD, 0, [NewFile("0" * 64, DATA)]),
        (GOOD | {"size": 3}, 0, [NewFile(SHA, DATA)]),
        (GOOD, 5, [NewFile(SHA, DATA)]),  # a file never changes
        (GOOD | {"address": "0"}, 0, [NewFile(SHA, DATA)]),
        (GOOD | {"more": 1}, 0, [NewFile(SHA, DATA)]),
        (GOOD | {"contentType": "a\r\nb"}, 0, [NewFile(SHA, DATA)]),
        ({"_creationTime": 1.0}, 0, [NewFile(SHA, DATA)]),
    ],
)
def test_forged_documents_are_refused(document: dict[str, Any], previous: int, files: list[NewFile]) -> None:
    for reach in ("public", "internal", "system"):
        with pytest.raises(InvalidValue, match="malformed stored file"):
            check_writes(written(document, previous), Catalog(), reach, files=files)
