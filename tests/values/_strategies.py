"""Values as hypothesis strategies."""

from __future__ import annotations

from hypothesis import strategies as st

from nbreactive.values import Int64

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=12) | st.text("\x00\x01\x02a\xff\uffff😀", max_size=5)
keys = st.from_regex(r"[a-zA-Z_][ -~]{0,5}", fullmatch=True)
integers = st.integers(-(2**53), 2**53) | st.integers(-3, 3)
floats = st.floats() | st.sampled_from([0.0, -0.0, 1.0, -1.0, 5e-324, 2.0**53])
int64s = st.integers(-(2**63), 2**63 - 1).map(Int64)
raw = st.binary(max_size=8) | st.lists(st.sampled_from([0, 1, 2, 255]), max_size=5).map(bytes)
scalars = st.none() | st.booleans() | integers | floats | int64s | text | raw
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=12,
)


def same(one: object, other: object) -> bool:
    """Whether two values are the same value: of the same types, NaN equal to NaN, 0.0 unlike -0.0."""
    if type(one) is not type(other):
        return False
    if isinstance(one, float):
        return repr(one) == repr(other)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    return one == other
