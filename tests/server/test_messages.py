from __future__ import annotations

import hashlib
import inspect
import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbreactive.server import messages as wire
from nbreactive.server._nesting import cut_nesting

PINNED = "61bd7c9bf0fa5bda"


def shape_of_protocol() -> str:
    lines = []
    for name, kind in sorted(inspect.getmembers(wire, inspect.isclass)):
        if issubclass(kind, msgspec.Struct) and kind.__module__ == wire.__name__:
            fields = [
                f"{f.encode_name}: {kind.__annotations__[f.name]} {'' if f.required else bytes(f.default) if isinstance(f.default, msgspec.Raw) else repr(f.default)}"
                for f in msgspec.structs.fields(kind)
            ]
            lines.append(f"{name} {kind.__struct_config__.tag} {fields}")
    return "\n".join(lines)


def test_the_wire_messages_are_pinned() -> None:
    # Clients of other people speak this. If the change is meant, look at shape_of_protocol() and pin it anew.
    assert hashlib.sha256(shape_of_protocol().encode()).hexdigest()[:16] == PINNED, shape_of_protocol()


def test_messages_as_the_official_clients_send_them() -> None:
    text = (
        '{"type":"ModifyQuerySet","baseVersion":0,"newVersion":1,"modifications":'
        '[{"type":"Add","queryId":0,"udfPath":"m:f","args":[{"n":1}],"journal":null},{"type":"Remove","queryId":7}]}'
    )
    message = wire.decode(text)
    assert isinstance(message, wire.ModifyQuerySet)
    first, second = message.modifications
    assert isinstance(first, wire.Add) and bytes(first.args) == b'[{"n":1}]' and first.componentPath is None
    assert isinstance(second, wire.Remove) and second.queryId == 7
    connect = wire.decode('{"type":"Connect","sessionId":"a","connectionCount":0,"lastCloseReason":null,"clientTs":1}')
    assert isinstance(connect, wire.Connect) and connect.nbreactive is None


def test_absent_error_data_is_absent_and_null_ts_is_null() -> None:
    failed = wire.MutationResponse(requestId=1, success=False, result="no", ts=None, logLines=[])
    assert (
        wire.encode(failed)
        == b'{"type":"MutationResponse","requestId":1,"success":false,"result":"no","ts":null,"logLines":[]}'
    )


@given(st.integers(0, 2**63 - 1))
def test_timestamps_round_trip(ts: int) -> None:
    assert wire.decode_ts(wire.encode_ts(ts)) == ts


@pytest.mark.parametrize("text", ["", "AAAA", "//////////8=", "not base64!", "AAAAAAAAAAA=AAAA"])
def test_other_timestamps_are_refused(text: str) -> None:
    with pytest.raises(ValueError):
        wire.decode_ts(text)


@given(
    st.recursive(st.text('ab[]{}"\\', max_size=8), lambda inner: st.lists(inner, max_size=4), max_leaves=20),
    st.integers(0, 60),
)
def test_text_that_is_not_too_deep_is_left_alone(value: object, wrapped: int) -> None:
    text = "[" * wrapped + json.dumps(value) + "]" * wrapped
    assert cut_nesting(text) == text


@given(st.text('[]{}"\\x,', max_size=300))
def test_any_text_can_be_cut(text: str) -> None:
    assert len(cut_nesting(text)) <= len(text)


def test_what_is_too_deep_is_cut_out_and_the_rest_kept_case_12() -> None:
    deep = "[" * 5000 + '"]\\"}"' + "]" * 5000
    cut = json.loads(cut_nesting('{"a": 1, "b": [' + deep + ', "c"], "d": "["}'))
    assert (cut["a"], cut["b"][1], cut["d"]) == (1, "c", "[")
    with pytest.raises(RecursionError):
        cut_nesting("[" * 1_000_000)
