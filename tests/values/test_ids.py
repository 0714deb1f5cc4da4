from __future__ import annotations

import typing

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbreactive.errors import InvalidId, InvalidValue
from nbreactive.values import Id, decode_id, encode_id
from nbreactive.values.ids import new_internal

ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
tables = st.integers(1, 2**32 - 1) | st.sampled_from([1, 127, 128, 10_001, 16_383, 16_384, 2**21, 2**28, 2**32 - 1])
internals = st.binary(min_size=16, max_size=16) | st.sampled_from([bytes(16), b"\xff" * 16])


def reference_encoding(table: int, internal: bytes) -> str:
    """The form as the reference describes it, bit by bit."""
    body = bytearray()
    while table >= 128:
        body.append(table % 128 + 128)
        table //= 128
    body.append(table)
    body += internal
    first = second = 0
    for byte in body:
        first = (first + byte) % 255
        second = (second + first) % 255
    body += bytes([first, second])
    bits = "".join(f"{byte:08b}" for byte in body)
    bits += "0" * (-len(bits) % 5)
    return "".join(ALPHABET[int(bits[at : at + 5], 2)] for at in range(0, len(bits), 5))


@given(tables, internals)
def test_ids_have_the_form_of_the_reference_and_round_trip(table, internal):
    text = encode_id(table, internal)
    assert text == reference_encoding(table, internal)
    assert decode_id(text) == (table, internal)
    assert 31 <= len(text) <= 37
    assert type(text) is Id


@settings(max_examples=15)
@given(st.sampled_from([1, 10_001, 20_000, 2**32 - 1]), internals)
def test_every_change_of_one_character_is_refused(table, internal):
    text = encode_id(table, internal)
    for at, before in enumerate(text):
        for character in ALPHABET:
            if character != before:
                with pytest.raises(InvalidId):
                    decode_id(text[:at] + character + text[at + 1 :])


@given(tables, internals, st.integers(0, 36))
def test_lost_and_doubled_characters_are_refused(table, internal, at):
    text = encode_id(table, internal)
    for damaged in (text[:at] + text[at + 1 :], text[:at] + text[at : at + 1] * 2 + text[at + 1 :]):
        if damaged != text:
            with pytest.raises(InvalidId):
                decode_id(damaged)


@given(st.text(max_size=40) | st.text(ALPHABET, min_size=29, max_size=39))
def test_other_text_is_no_id(text):
    try:
        table, internal = decode_id(text)
    except InvalidId:
        return
    assert encode_id(table, internal) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "k" * 32,
        "'); DROP TABLE posts; --",
        "i" * 32,
        "٣" * 32,
        " " + "0" * 31,
        "_" * 32,
        "-1".rjust(32, "0"),
        "0" * 10_000,
    ],
)
def test_what_python_would_parse_as_a_number_is_no_id(text):
    with pytest.raises(InvalidId, match="is not an id") as caught:
        decode_id(text)
    assert len(str(caught.value)) < 400


def test_upper_case_and_the_longer_form_of_a_table_number_are_refused():
    text = encode_id(10_001, bytes(16))
    with pytest.raises(InvalidId):
        decode_id(text.upper())
    # Table 1 written with two bytes, 81 00, and a right checksum.
    body = b"\x81\x00" + bytes(16)
    first = sum(body) % 255
    second = 0x81 * 18 % 255
    number = int.from_bytes(body + bytes([first, second]), "big")
    spelled = "".join(ALPHABET[number >> (155 - 5 * at) & 31] for at in range(32))
    with pytest.raises(InvalidId):
        decode_id(spelled)


@pytest.mark.parametrize(("table", "internal"), [(0, bytes(16)), (-1, bytes(16)), (2**32, bytes(16)), (1, bytes(15))])
def test_ids_are_made_of_a_table_and_16_bytes(table, internal):
    with pytest.raises(InvalidValue):
        encode_id(table, internal)


@given(st.integers(0, 2**48 - 1), st.integers(0, 2**48 - 1), st.integers(0, 65_535), st.integers(0, 65_535))
def test_internal_bytes_sort_by_time_then_counter(ms, other_ms, counter, other_counter):
    one, other = new_internal(ms, counter, b"\xff" * 8), new_internal(other_ms, other_counter, b"\xff" * 8)
    assert len(one) == 16
    assert (one < other) == ((ms, counter) < (other_ms, other_counter))


def test_the_hint_of_an_id_carries_its_table():
    hint = Id["posts"]
    assert typing.get_args(hint) == (Id, "posts")
