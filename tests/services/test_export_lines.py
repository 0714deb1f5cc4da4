from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given

from nbreactive.errors import InvalidValue
from nbreactive.services.export_lines import decode_line, encode_line
from nbreactive.values import Int64
from nbreactive.values.packing import pack
from tests.values._strategies import values


def as_exported(value: Any) -> Any:
    """A value as it comes back: our own ints are floats."""
    if type(value) is dict:
        return {key: as_exported(item) for key, item in value.items()}
    if type(value) is list:
        return [as_exported(item) for item in value]
    return float(value) if type(value) is int else value


def canonical(value: Any) -> bytes:
    def ordered(value: Any) -> Any:
        if type(value) is dict:
            return {key: ordered(value[key]) for key in sorted(value)}
        return [ordered(item) for item in value] if type(value) is list else value

    return pack(ordered(value))


@given(values)
def test_what_is_exported_comes_back(value: Any) -> None:
    line = encode_line(value)
    assert "\n" not in line
    assert canonical(decode_line(line)) == canonical(as_exported(value))
    json.loads(line)


def test_numbers_stand_as_convex_writes_them() -> None:
    assert encode_line([Int64(-(2**63)), 1.0, -0.0, 1e300, 7]) == "[-9223372036854775808,1.0,-0.0,1e+300,7.0]"
    assert decode_line("[1, 1.0, 1e2]") == [Int64(1), 1.0, 100.0]
    assert type(decode_line("1")) is Int64
    assert type(decode_line("1", integers=False)) is int


@pytest.mark.parametrize(
    "line", ["{", "NaN", '{"a": 1, "a": 2}', '{"$integer": "x"}', "9223372036854775808", "[" * 5000]
)
def test_what_is_no_value_is_refused(line: str) -> None:
    with pytest.raises(InvalidValue):
        decode_line(line, "file line 3")
