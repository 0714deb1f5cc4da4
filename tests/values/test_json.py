"""The JSON forms of Convex; the fixed texts are what its clients send and expect."""

from __future__ import annotations

import json
import math
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbreactive.errors import InvalidValue, LimitExceeded
from nbreactive.values import Id, Int64, decode_json, encode_clean, encode_json
from nbreactive.values.json import from_jsonable, to_jsonable
from tests.values._strategies import same, values


@given(values)
def test_the_exact_form_round_trips_with_types(value):
    assert same(decode_json(encode_json(value)), value)


@given(values)
def test_jsonable_round_trips_through_any_json_library(value):
    assert same(from_jsonable(json.loads(json.dumps(to_jsonable(value)))), value)


@given(values)
def test_text_and_jsonable_are_the_same(value):
    assert json.loads(encode_json(value)) == json.loads(json.dumps(to_jsonable(value)))


@given(st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 9)))
def test_equal_objects_have_equal_text(value):
    assert encode_json(value) == encode_json(dict(reversed(value.items())))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (Int64(1), '{"$integer":"AQAAAAAAAAA="}'),
        (Int64(-(2**63)), '{"$integer":"AAAAAAAAAIA="}'),
        (b"\x00\xff", '{"$bytes":"AP8="}'),
        (b"", '{"$bytes":""}'),
        (-0.0, '{"$float":"AAAAAAAAAIA="}'),
        (math.inf, '{"$float":"AAAAAAAA8H8="}'),
        (-math.inf, '{"$float":"AAAAAAAA8P8="}'),
        (math.nan, '{"$float":"AAAAAAAA+H8="}'),
        (5, "5"),
        (5.0, "5.0"),
        (Id("k1"), '"k1"'),
        ({"__proto__": {"b": 1, "a": None}}, '{"__proto__":{"a":null,"b":1}}'),
        ([True, "é😀"], '[true,"é😀"]'),
    ],
)
def test_exact_texts(value, text):
    assert encode_json(value).decode() == text
    assert same(decode_json(text), str(value) if isinstance(value, Id) else value)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (Int64(2**62), '"4611686018427387904"'),
        ([math.nan, math.inf, -math.inf, -0.0], '["NaN","Infinity","-Infinity",-0.0]'),
        ({"b": b"ab", "a": 1}, '{"a":1,"b":"YWI="}'),
    ],
)
def test_clean_texts(value, text):
    assert encode_clean(value).decode() == text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a":{"b":1,"b":2}}', "args.a: the key 'b' is there twice"),
        ('{"a":[1,{"b":1e999}]}', "args.a[1].b: a number of 5 characters is too large"),
        ('{"a":' + "9" * 10_000 + "}", "args.a: a number of 10000 characters is too large"),
        ('{"a":"\\ud800"}', "args.a: the string has a lone surrogate (U+D800) at position 0"),
        ("[NaN]", "args[0]: NaN is not JSON"),
        ("[-Infinity]", "args[0]: -Infinity is not JSON"),
        ('{"$x":1}', "args: the key '$x' starts with $"),
        ('{"a":1,"$integer":"AQAAAAAAAAA="}', "args: the key '$integer' starts with $"),
        ('{"$set":[1]}', "args: the key '$set' starts with $"),
        ('{"$undefined":null}', "starts with $"),
        ('{"":1}', "args: a key of an object is empty"),
        ('{"é":1}', "is not printable ASCII"),
        ('{"a\\u0000":1}', "is not printable ASCII"),
        ('{"$integer":"AA=="}', "args: $integer holds 1 bytes"),
        ('{"$integer":5}', "args: the content of $integer is not base64 text"),
        ('{"$bytes":"A"}', "args: the content of $bytes is not base64 text"),
        ('{"$bytes":"AP8=\\n"}', "args: the content of $bytes is not base64 text"),
        ('{"$float":"AAAAAAAA8D8="}', "args: $float is for NaN, infinities and -0.0 only"),
        ("[1,2", "args: not JSON"),
        ("", "args: not JSON"),
        ("{'a':1}", "args: not JSON"),
        (b"\xff", "args: not JSON"),
        (b"\xfe\xff\x00[\x00]", "args: not JSON"),
        ("\ufeff[]", "args: not JSON"),
        ("[" * 100_000, "args: nested deeper than 64 levels"),
        ("[" * 1000 + "]" * 1000, "nested deeper than 64 levels"),
        ('{"a":' * 1000 + "1" + "}" * 1000, "nested deeper than 64 levels"),
        ("[" + "1," * 40_000 + "1]", "40001 items in an array"),
    ],
)
def test_what_is_wrong_is_refused_with_its_path(text, message):
    with pytest.raises(InvalidValue) as caught:
        decode_json(text, "args")
    assert message in str(caught.value)
    assert len(str(caught.value)) < 500


@given(values)
def test_both_ways_of_decoding_agree(value):
    # Spelled as other encoders do: with spaces, escapes and keys in any order; a key "$" would make the text special.
    text = json.dumps(to_jsonable(value), indent=1)
    assert same(decode_json(text), decode_json(f'[{text}, {{"$bytes":""}}]')[0])


def test_colons_in_strings_hide_no_key_that_is_there_twice():
    assert decode_json('{"a:b": ":", "c": [{"d": "::"}]}') == {"a:b": ":", "c": [{"d": "::"}]}
    for text in (
        '{"a": 1, "a": ":"}',
        '{"a": [{"b": 1, "b": 2}], "c": 3}',
        '{"a:": 1, "a:": 2}',
        '[{"a": {}, "a": 1}]',
    ):
        with pytest.raises(InvalidValue, match="is there twice"):
            decode_json(text)


def test_large_json_integers_are_the_doubles_that_javascript_meant():
    assert same(decode_json("9007199254740992"), 2**53)
    assert same(decode_json("9007199254740994"), 2.0**53 + 2)
    assert same(decode_json("-100000000000000000000"), -1e20)
    assert same(from_jsonable(10**20), 1e20)
    assert same(decode_json("-0"), -0.0)


def test_parsed_json_is_checked_too():
    deep: list = []
    for _ in range(2000):
        deep = [deep]
    with pytest.raises(LimitExceeded, match="nested deeper"):
        from_jsonable(deep)
    with pytest.raises(InvalidValue, match=r"args\[0\]: an integer too large"):
        from_jsonable([10**1000], "args")
    with pytest.raises(InvalidValue, match=r"args\.a: .*lone surrogate"):
        from_jsonable({"a": "\ud800"}, "args")


def test_unchecked_things_do_not_slip_into_json():
    with pytest.raises(InvalidValue, match="has no JSON form"):
        encode_json({"x": object()})


@given(st.text(max_size=30) | st.binary(max_size=30))
def test_any_input_gives_a_value_or_the_one_kind_of_error(data):
    with suppress(InvalidValue):
        decode_json(data)
