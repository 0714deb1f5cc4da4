"""Validators against a model that reads their rules one by one and knows nothing of closures."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbreactive.errors import ArgumentError, InvalidValue, LimitExceeded, ReturnsError, SchemaError
from nbreactive.values import UNSET, Id, Int64, encode_id, v
from nbreactive.values.validators import Validator, from_json
from tests.values._strategies import keys, same, values

POST = encode_id(10_001, bytes(16))
literals = st.sampled_from(["a", "", 0, 1, 1.5, True, False, Int64(1)])
leaves = st.sampled_from(
    [v.any(), v.null(), v.boolean(), v.number(), v.integer(), v.int64(), v.string(), v.bytes()]
) | literals.map(v.literal)


def containers(inner: st.SearchStrategy[Validator]) -> st.SearchStrategy[Validator]:
    fields = st.dictionaries(keys, inner | inner.map(v.optional), max_size=3)
    return (
        inner.map(v.array)
        | inner.map(lambda values: v.record(v.string(), values))
        | fields.map(v.object)
        | st.lists(inner, max_size=3).map(lambda members: v.union(*members))
    )


validators = st.recursive(leaves, containers, max_leaves=6)


def model(validator: Validator, value: object) -> list[object]:
    """What the validator makes of a plain value: a list of one, or an empty one when it refuses."""
    number = type(value) in (int, float)
    match validator.kind:
        case "any":
            return [value]
        case "null":
            return [None] if value is None else []
        case "boolean":
            return [value] if type(value) is bool else []
        case "string":
            return [value] if type(value) is str else []
        case "bytes":
            return [value] if type(value) is bytes else []
        case "float64":
            return [float(value)] if number else []
        case "integer":
            whole = number and math.isfinite(value) and value == int(value) and abs(value) <= 2**53
            return [int(value)] if whole else []
        case "int64":
            return [Int64(value)] if type(value) in (int, Int64) else []
        case "literal":
            of = type(validator.value)
            kin = type(value) is of or (number and of in (int, float))
            return [validator.value] if kin and value == validator.value else []
        case "array":
            parts = [model(validator.element, item) for item in value] if type(value) is list else [[]]
            return [[part[0] for part in parts]] if all(parts) else []
        case "record":
            parts = {k: model(validator.values, x) for k, x in value.items()} if type(value) is dict else {"": []}
            return [{k: part[0] for k, part in parts.items()}] if all(parts.values()) else []
        case "object":
            if type(value) is not dict or value.keys() - validator.fields.keys():
                return []
            if any(not f.is_optional and name not in value for name, f in validator.fields.items()):
                return []
            parts = {name: model(f, value[name]) for name, f in validator.fields.items() if name in value}
            return [{k: part[0] for k, part in parts.items()}] if all(parts.values()) else []
        case "union":
            members = sorted(validator.members, key=lambda member: member.kind == "int64")
            return next((found for member in members if (found := model(member, value))), [])
        case kind:
            raise AssertionError(kind)


def fitting(validator: Validator) -> st.SearchStrategy[object]:
    """Values that fit, so that right ones are as frequent as wrong ones."""
    match validator.kind:
        case "literal":
            return st.just(validator.value)
        case "array":
            return st.lists(fitting(validator.element), max_size=3)
        case "record":
            return st.dictionaries(keys, fitting(validator.values), max_size=3)
        case "object":
            given = {n: fitting(f) for n, f in validator.fields.items() if not f.is_optional}
            maybe = {n: fitting(f) for n, f in validator.fields.items() if f.is_optional}
            return st.fixed_dictionaries(given, optional=maybe)
        case "union":
            return st.one_of(*map(fitting, validator.members)) if validator.members else values
        case kind:
            of = {
                "null": st.none(),
                "boolean": st.booleans(),
                "float64": st.floats() | st.integers(-5, 5),
                "integer": st.integers(-5, 5) | st.sampled_from([2.0, 2.5]),
                "int64": st.integers(-5, 5) | st.just(Int64(2)),
                "string": st.text("ab", max_size=2),
                "bytes": st.binary(max_size=2),
            }
            return of.get(kind, values)


@settings(max_examples=500)
@given(st.data(), validators)
def test_checks_agree_with_the_model(data, validator):
    value = data.draw(fitting(validator) | values)
    expected = model(validator, value)
    try:
        found = [validator.check(value)]
    except InvalidValue:
        found = []
    assert same(found, expected)


@given(st.data(), validators)
def test_checking_again_changes_nothing(data, validator):
    try:
        value = validator.check(data.draw(fitting(validator)))
    except InvalidValue:
        return
    assert same(validator.check(value), value)


@given(validators)
def test_the_json_form_round_trips(validator):
    text = json.dumps(validator.to_json())
    assert from_json(json.loads(text)) == validator
    assert from_json(json.loads(text)).to_json() == validator.to_json()
    assert hash(from_json(json.loads(text))) == hash(validator)


@pytest.mark.parametrize(
    ("validator", "form"),
    [
        # As Convex's clients export them.
        (v.number(), {"type": "number"}),
        (v.int64(), {"type": "bigint"}),
        (v.id("posts"), {"type": "id", "tableName": "posts"}),
        (v.literal("a"), {"type": "literal", "value": "a"}),
        (v.literal(Int64(1)), {"type": "literal", "value": {"$integer": "AQAAAAAAAAA="}}),
        (v.array(v.null()), {"type": "array", "value": {"type": "null"}}),
        (
            v.object({"a": v.optional(v.any()), "b": v.bytes()}),
            {
                "type": "object",
                "value": {
                    "a": {"fieldType": {"type": "any"}, "optional": True},
                    "b": {"fieldType": {"type": "bytes"}, "optional": False},
                },
            },
        ),
        (
            v.record(v.id("posts"), v.boolean()),
            {
                "type": "record",
                "keys": {"type": "id", "tableName": "posts"},
                "values": {"fieldType": {"type": "boolean"}, "optional": False},
            },
        ),
        (v.nullable(v.string()), {"type": "union", "value": [{"type": "string"}, {"type": "null"}]}),
        # Numbers to everybody else.
        (v.integer(), {"type": "number", "nbreactive": "integer"}),
        (v.datetime(), {"type": "number", "nbreactive": "datetime"}),
    ],
)
def test_json_forms(validator, form):
    assert validator.to_json() == form
    assert from_json(form) == validator


@pytest.mark.parametrize("form", [{}, {"type": "nothing"}, {"type": "id"}, [], "string", {"type": "array"}, None])
def test_other_json_is_no_validator(form):
    with pytest.raises(SchemaError, match="is not the JSON form of a validator"):
        from_json(form)


ITEMS = v.object({"items": v.array(v.object({"price": v.number(), "name": v.optional(v.string())}))})


@pytest.mark.parametrize(
    ("validator", "value", "message"),
    [
        (ITEMS, {"items": [{"price": 1}] * 3 + [{"price": "9"}]}, "args.items[3].price: expected a number, got the string '9'; use float(x)"),
        (ITEMS, {"items": [{}]}, "args.items[0].price: is missing; expected a number"),
        (ITEMS, {"items": [{"price": 1, "nane": "x"}]}, "args.items[0]: there is no field 'nane'; did you mean name?"),
        (ITEMS, {"items": [{"price": 1, "name": None}]}, "args.items[0].name: expected a string, got null; leave the field out (UNSET), or allow null with v.nullable()"),
        (ITEMS, {}, "args.items: is missing; expected an array"),
        (ITEMS, [], "args: expected an object, got an array of 0 items; use a dict"),
        (v.object({}), {"a": 1}, "args: there is no argument 'a'; the arguments are: none"),
        (ITEMS, {"itmes": []}, "args.items: is missing; expected an array. There is no argument 'itmes'; did you mean items?"),
        (ITEMS, {"itmes": [], "x": 1}, "args.items: is missing; expected an array. There is no argument 'itmes'; did you mean items? There is no argument 'x'; the arguments are: items"),
        (ITEMS, {"items": [{"prize": 1}]}, "args.items[0].price: is missing; expected a number. There is no field 'prize'; did you mean price?"),
        (v.object({"text": v.optional(v.string())}), {"extra": 1}, "args: there is no argument 'extra'; the arguments are: text"),
        (v.integer(), True, "args: expected a whole number, got the boolean True; use int(x)"),
        (v.integer(), 5.5, "args: expected a whole number, got the number 5.5; use round(x), or v.number()"),
        (v.integer(), 2.0**60, "args: expected a whole number, got the number 1.152921504606847e+18; whole numbers end at 2**53"),
        (v.integer(), math.nan, "args: expected a whole number, got the number nan"),
        (v.integer(), math.inf, "args: expected a whole number, got the number inf"),
        (v.integer(), 2**63, "args: an int beyond 2**53 is not exact as a number; use Int64(x)"),
        (v.integer(), 10**4000, "args: an int beyond 2**53"),
        (v.integer(), Int64(5), "args: expected a whole number, got Int64(5); use int(x), or v.int64()"),
        (v.number(), False, "args: expected a number, got the boolean False; use float(x)"),
        (v.number(), 2**53 + 1, "args: an int beyond 2**53"),
        (v.int64(), 2**63, "args: expected a 64-bit integer, got the number 9223372036854775808; it ends at"),
        (v.int64(), 1.0, "args: expected a 64-bit integer, got the number 1.0; use int(x)"),
        (v.string(), 5, "args: expected a string, got the number 5; use str(x)"),
        (v.string(), "\ud800", "args: the string has a lone surrogate"),
        (v.bytes(), "a", "args: expected bytes, got the string 'a'; use text.encode()"),
        (v.boolean(), 1, "args: expected a boolean, got the number 1; use bool(x)"),
        (v.null(), 0, "args: expected null, got the number 0"),
        (v.int64(), True, "args: expected a 64-bit integer, got the boolean True; use int(x)"),
        (v.datetime(), True, "args: expected a datetime with a time zone"),
        (v.array(v.any()), "abc", "args: expected an array, got the string 'abc'"),
        (v.array(v.any()), {1}, "args: expected an array, got a set; use list(x)"),
        (v.array(v.integer()), [1, UNSET], "args[1]: expected a whole number, got an Unset"),
        (v.literal("a"), "b", "args: expected the string 'a', got the string 'b'"),
        (v.literal(1), True, "args: expected the number 1, got the boolean True"),
        (v.union(v.literal("a"), v.literal("b")), "c", "args: expected the string 'a' or the string 'b', got the string 'c'"),
        (v.union(v.string(), v.null()), 5, "args: expected a string or null, got the number 5"),
        (v.union(), 5, "args: expected nothing, got the number 5"),
        (v.nullable(ITEMS), {"items": [{"price": "x"}]}, "args.items[0].price: expected a number"),
        (v.id("posts"), "x", "args: expected an id of the table 'posts'; 'x' is not an id"),
        (v.id("posts"), {"_id": POST}, 'args: expected an id of the table \'posts\', got an object; pass document["_id"]'),
        (v.record(v.string(), v.integer()), {"a b": 1.5}, "args['a b']: expected a whole number"),
        (v.record(v.id("posts"), v.any()), {"zz": 1}, "args.zz: expected an id of the table 'posts'"),
        (v.record(v.string(), v.any()), {"$a": 1}, "args: the key '$a' starts with $"),
        (v.datetime(), "2026-01-01", "args: expected a datetime with a time zone (or milliseconds since 1970), got the string '2026-01-01'; use datetime.fromisoformat(x)"),
        (v.datetime(), datetime(2026, 1, 1), "args: a datetime without a time zone names no moment"),  # noqa: DTZ001
        (v.datetime(), 1e18, "args: expected milliseconds since 1970 within the years 1 to 9999"),
        (v.datetime(), math.nan, "args: expected milliseconds"),
        (v.any(), {"a": {1}}, "args.a: a set is not a value"),
    ],
)  # fmt: skip
def test_messages_name_the_path_and_the_fix(validator, value, message):
    with pytest.raises(ArgumentError) as caught:
        validator.check(value, "args", error=ArgumentError)
    assert str(caught.value).startswith(message)


def test_unions_of_objects_are_told_apart_by_their_literals():
    shape = v.union(
        v.object({"kind": v.literal("circle"), "r": v.number()}),
        v.object({"kind": v.literal("square"), "side": v.number()}),
    )
    assert shape.check({"kind": "square", "side": 2}) == {"kind": "square", "side": 2.0}
    with pytest.raises(InvalidValue, match=r"^shape\.side: expected a number"):
        shape.check({"kind": "square", "side": "2"}, "shape")
    with pytest.raises(InvalidValue, match=r"^shape: expected an object, got an object"):
        shape.check({"kind": "star"}, "shape")


def test_ids_are_of_their_table_where_tables_are_known():
    assert v.id("posts").check(POST) == POST
    assert v.id("posts").check(np.str_(POST)) == POST
    assert v.id("posts").check(POST, table_of=lambda _: "posts") == POST
    with pytest.raises(InvalidValue, match="expected an id of the table 'posts', got one of the table 'users'"):
        v.id("posts").check(POST, table_of=lambda _: "users")
    with pytest.raises(InvalidValue, match="got one of a table that does not exist here"):
        v.array(v.id("posts")).check([POST], table_of=lambda _: None)


@pytest.mark.parametrize(
    ("validator", "value", "plain"),
    [
        (v.integer(), 5.0, 5),
        (v.integer(), -0.0, 0),
        (v.integer(), np.int32(5), 5),
        (v.integer(), np.float64(5), 5),
        (v.number(), 5, 5.0),
        (v.number(), np.float32(0.5), 0.5),
        (v.number(), math.nan, math.nan),
        (v.number(), -0.0, -0.0),
        (v.int64(), 2**62, Int64(2**62)),
        (v.any(), 5, 5),
        (v.any(), 5.0, 5.0),
        (v.boolean(), np.bool_(True), True),
        (v.string(), Id("a"), Id("a")),
        (v.array(v.integer()), (1, 2.0), [1, 2]),
        (v.union(v.int64(), v.number()), 5, 5.0),
        (v.union(v.int64(), v.string()), 5, Int64(5)),
        (v.nullable(v.array(v.string())), ("a",), ["a"]),
        (v.object({"a": v.optional(v.string())}), {"a": UNSET}, {}),
        (v.object({"a": v.optional(v.string())}), {"a": UNSET, "zz": UNSET}, {}),
        (v.record(v.string(), v.string()), {"a": UNSET}, {}),
        (v.object({"__proto__": v.string()}), {"__proto__": "x"}, {"__proto__": "x"}),
        (v.datetime(), datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC), 1000),
        (v.datetime(), 1.5, 1.5),
        (v.union(v.datetime(), v.null()), datetime(1970, 1, 1, tzinfo=UTC), 0),
    ],
)
def test_kin_become_plain(validator, value, plain):
    assert same(validator.check(value), plain)


@given(st.datetimes(timezones=st.just(UTC)))
def test_datetimes_round_trip(moment):
    back = v.datetime().load(v.datetime().check(moment))
    # Within 2**43 ms of 1970 a double has steps below a microsecond; beyond, it keeps milliseconds.
    if 1692 < moment.year < 2248:
        assert back == moment
    else:
        assert abs((back - moment).total_seconds()) < 1e-3


def test_a_result_may_hold_datetimes_where_anything_may_be():
    at = datetime(2026, 11, 1, tzinfo=UTC)
    rows = v.array(v.record(v.string(), v.any()))
    assert rows.check([{"at": at}], datetimes=True) == [{"at": at.timestamp() * 1000}]
    with pytest.raises(InvalidValue, match=r"only stored where the schema says v\.datetime"):
        rows.check([{"at": at}])


def test_loading_touches_only_what_has_something_to_load():
    at = datetime(2026, 11, 1, tzinfo=UTC)
    ms = v.datetime().check(at)
    table = v.object({"title": v.string(), "at": v.optional(v.datetime()), "log": v.array(v.nullable(v.datetime()))})
    assert table.loads
    assert table.load({"title": "a", "at": ms, "log": [None, ms], "_id": "k"}) == {
        "title": "a",
        "at": at,
        "log": [None, at],
        "_id": "k",
    }
    assert table.load({"title": "a", "log": []}) == {"title": "a", "log": []}
    assert v.record(v.string(), v.datetime()).load({"a": ms}) == {"a": at}
    plain = v.object({"title": v.string()})
    document = {"title": "a"}
    assert not plain.loads
    assert plain.load(document) is document


def test_objects_have_their_algebra():
    user = v.object({"name": v.string(), "age": v.integer()})
    assert user.extend({"age": v.number(), "mail": v.string()}) == v.object(
        {"name": v.string(), "age": v.number(), "mail": v.string()}
    )
    assert user.pick("name") == v.object({"name": v.string()})
    assert user.omit("name") == v.object({"age": v.integer()})
    assert user.partial().check({}) == {}
    assert user == v.object({"name": v.string(), "age": v.integer()})
    assert user != user.partial()
    for change in (user.pick, user.omit):
        with pytest.raises(SchemaError, match="there is no field 'nane'; the fields are: name, age"):
            change("nane")


def test_every_validator_has_an_optional_twin():
    for validator in (v.any(), v.id("t"), v.literal(1), v.array(v.any()), v.object({}), v.union(), v.string()):
        twin = validator.optional()
        assert twin.is_optional
        assert not validator.is_optional
        assert twin != validator
        assert twin.required() == validator
        assert twin.kind == validator.kind
        assert repr(twin) == f"v.optional({validator!r})"


def test_columns_are_the_fields_of_objects():
    assert v.object({"a": v.any(), "b": v.any()}).columns() == ["a", "b"]
    assert v.union(v.object({"a": v.any()}), v.object({"b": v.any(), "a": v.any()})).columns() == ["a", "b"]
    assert v.any().columns() is None
    assert v.union(v.object({"a": v.any()}), v.any()).columns() is None


def test_aliases():
    assert v.float64() == v.number()
    assert v.bigint() == v.int64()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: v.object({"a": str}), "the field 'a' takes a validator, not a type; use v.string()"),
        (lambda: v.object([]), "takes a dict of validators"),
        (lambda: v.object({"$a": v.any()}), "starts with"),
        (lambda: v.object({"": v.any()}), "empty"),
        (lambda: v.object({f"f{i}": v.any() for i in range(1025)}), "1025 fields in an object"),
        (lambda: v.array(v.optional(v.string())), "cannot be optional, only fields of objects can; use v.nullable"),
        (lambda: v.union(v.string().optional()), "cannot be optional"),
        (lambda: v.array("string"), "takes a validator, not 'string'"),
        (lambda: v.record(v.literal("a"), v.any()), r"keys of v.record\(\) are v.string\(\) or v.id"),
        (lambda: v.literal(None), r"use v.null\(\)"),
        (lambda: v.literal([1]), "takes a string, number or boolean"),
        (lambda: v.id(5), "takes the name of a table"),
    ],
)
def test_validators_are_put_together_right(make, message):
    with pytest.raises(SchemaError, match=message):
        make()


def test_limits_hold_inside_validators():
    with pytest.raises(LimitExceeded, match=r"args: 8193 items in an array"):
        v.array(v.integer()).check([0] * 8193, "args", error=ReturnsError)
    assert len(v.array(v.integer()).check([0] * 8193, max_items=10_000)) == 8193
    deep: object = 1
    for _ in range(1000):
        deep = [deep]
    for validator in (v.any(), v.array(v.any()), v.union(v.string(), v.any()), v.object({"a": v.any()}).partial()):
        value = {"a": deep} if validator.kind == "object" else deep
        with pytest.raises(LimitExceeded, match="nested deeper than 64 levels"):
            validator.check(value, "args")
    with pytest.raises(LimitExceeded, match="nested deeper than 2 levels"):
        v.array(v.array(v.array(v.any()))).check([[[]]], max_nesting=2)
