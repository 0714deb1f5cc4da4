from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbreactive.errors import InvalidValue
from nbreactive.values import Id, Int64, check_value, pack, unpack
from tests.values._strategies import same, values


@given(values)
def test_packing_round_trips_with_types(value):
    assert same(unpack(pack(value)), value)


@given(values)
def test_checked_values_are_themselves(value):
    assert same(check_value(value), value)


def test_ids_pack_as_strings():
    assert type(unpack(pack(Id("k1")))) is str
    assert unpack(pack({Id("k1"): Id("k2")})) == {"k1": "k2"}


def test_int64_is_extension_1_of_8_bytes():
    assert pack(Int64(-2)) == b"\xd7\x01" + (-2).to_bytes(8, "little", signed=True)


@given(st.binary(max_size=30))
def test_any_other_bytes_give_a_value_or_the_one_error(data):
    with suppress(InvalidValue):
        unpack(data)


@pytest.mark.parametrize("data", [b"", b"\x91" * 100_000, b"\xd4\x05a", b"\xd4\x01a", b"\xa2\xff\xff", b"\x92\x01"])
def test_damaged_bytes_are_refused(data):
    with pytest.raises(InvalidValue, match="not a packed value"):
        unpack(data)


def test_what_was_never_checked_is_refused():
    with pytest.raises(InvalidValue, match="check_value"):
        pack({"x": object()})
