"""Frames: what a forged stream does to the parser, and that logs stay bounded."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbreactive.errors import ProtocolError
from nbreactive.runtime.frames import MAX_FRAME, READY, REPLY, Parser, frame
from nbreactive.runtime.output import CallLog, captured


@given(bodies=st.lists(st.binary(max_size=50)), cuts=st.lists(st.integers(0, 300)))
def test_frames_survive_any_cutting(bodies: list[bytes], cuts: list[int]) -> None:
    stream = b"".join(frame(REPLY, body) for body in bodies)
    parser = Parser(frozenset({REPLY}))
    found: list[bytes] = []
    ends = sorted(cut for cut in cuts if cut < len(stream))
    for start, end in zip([0, *ends], [*ends, len(stream)], strict=True):
        found += [body for _, body in parser.feed(stream[start:end])]
    assert found == bodies


def test_forged_headers_end_it() -> None:
    with pytest.raises(ProtocolError, match="type 6"):
        list(Parser(frozenset({REPLY})).feed(frame(READY)))
    with pytest.raises(ProtocolError, match="4294967295 bytes"):
        list(Parser(frozenset({REPLY})).feed(b"\xff\xff\xff\xff\x08"))
    assert MAX_FRAME < 2**32


@given(st.lists(st.tuples(st.sampled_from(["LOG", "ERROR"]), st.text(max_size=20) | st.just("x" * 9000)), max_size=400))
def test_logs_are_bounded(writes: list[tuple[str, str]]) -> None:
    log = CallLog()
    for level, text in writes:
        log.write(level, text)  # pyright: ignore[reportArgumentType]
    lines = log.close()
    assert len(lines) <= 256
    assert all(len(line.text.encode("utf-8", "replace")) <= 4096 for line in lines)


def test_print_is_captured() -> None:
    log = CallLog()
    with captured(log):
        print("a", "b", sep="-")
        print("no end", end="")
    assert [line.text for line in log.close()] == ["a-b", "no end"]
