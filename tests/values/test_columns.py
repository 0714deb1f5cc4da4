from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from nbreactive.values import Int64
from nbreactive.values.arrow import Misfit, array
from nbreactive.values.columns import JSON, NULL, Kind, columns_of, infer, join, of_validator

scalars = st.sampled_from([None, True, 5, Int64(7), 2.5, "s", b"b"])
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abA"), inner, max_size=3),
    max_leaves=6,
)


@given(st.lists(values, max_size=5), st.booleans())
def test_what_is_inferred_holds_the_values(found: list[object], structs: bool) -> None:
    assert len(array(infer(found, structs=structs), found)) == len(found)


@given(st.lists(values), st.lists(values), st.lists(values), st.booleans())
def test_join_is_an_upper_bound(one: list[object], two: list[object], three: list[object], structs: bool) -> None:
    a, b, c = (infer(values, structs=structs) for values in (one, two, three))
    assert join(a, a) == a
    assert join(a, NULL) == join(NULL, a) == a
    assert join(a, JSON) == JSON
    joined = join(join(a, b), c)
    for kind, members in ((a, one), (b, two), (c, three)):
        array(joined, members)
        assert join(joined, kind) == joined


def test_strictness() -> None:
    for kind, value in [
        ("string", b"x"),
        ("integer", True),
        ("integer", 1.0),
        ("integer", Int64(1)),
        ("number", False),
        ("boolean", 1),
        ("datetime", float("inf")),
        ("datetime", 2**63),
        ("int64", 2**63),
    ]:
        try:
            array(Kind(kind), [value])  # type: ignore[arg-type]
        except Misfit:
            continue
        raise AssertionError((kind, value))


def test_validators() -> None:
    number, string = {"type": "number"}, {"type": "string"}
    either = {"type": "union", "value": [number, {"type": "number", "nbreactive": "integer"}, {"type": "null"}]}
    assert of_validator(either) == Kind("number")
    assert of_validator({"type": "union", "value": [number, {"type": "any"}]}) is None
    assert of_validator({"type": "object", "value": {}}) == JSON
    case = {"a": {"fieldType": number}, "A": {"fieldType": number}}
    assert of_validator({"type": "object", "value": case}) == JSON
    members = [
        {"type": "object", "value": {"k": {"fieldType": kind}, "v": {"fieldType": kind}}} for kind in (number, string)
    ]
    members[0]["value"].pop("v")
    assert columns_of({"type": "union", "value": members}) == {"k": JSON, "v": Kind("string")}
    assert columns_of(None) == columns_of({"type": "any"}) == {}
