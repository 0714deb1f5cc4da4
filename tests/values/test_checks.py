from __future__ import annotations

import dataclasses
import enum
from collections import OrderedDict, defaultdict, namedtuple
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from uuid import UUID

import numpy as np
import pytest

from nbreactive.errors import InvalidValue, LimitExceeded, SchemaError
from nbreactive.values import UNSET, Id, Int64, check_document, check_value, v
from tests.values._strategies import same


class Color(enum.StrEnum):
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


@dataclasses.dataclass
class Point:
    x: int
    tags: tuple[str, ...] = ()


Pair = namedtuple("Pair", "a b")  # noqa: PYI024


@pytest.mark.parametrize(
    ("given", "plain"),
    [
        ((1, (2.5,)), [1, [2.5]]),
        (Pair(1, "b"), [1, "b"]),
        (OrderedDict(a=1), {"a": 1}),
        (defaultdict(list, a=[1]), {"a": [1]}),
        (Color.RED, "red"),
        (Level.HIGH, 3),
        (bytearray(b"ab"), b"ab"),
        (memoryview(b"ab"), b"ab"),
        (Point(1, ("t",)), {"x": 1, "tags": ["t"]}),
        (np.int64(5), 5),
        (np.uint8(5), 5),
        (np.float64(5), 5.0),
        (np.float32(0.5), 0.5),
        (np.bool_(True), True),
        (np.str_("é"), "é"),
        (np.bytes_(b"a"), b"a"),
        (np.array(7), 7),
        ({"a": UNSET, "b": None}, {"b": None}),
        ({"__proto__": {"constructor": 1}}, {"__proto__": {"constructor": 1}}),
        (Int64(5), Int64(5)),
        (2**53, 2**53),
        (-(2**53), -(2**53)),
    ],
)
def test_kin_become_plain(given, plain):
    assert same(check_value(given), plain)
    assert same(check_value({"x": [given]}), {"x": [plain]})


def test_ids_stay_ids():
    assert type(check_value([Id("k1")])[0]) is Id


def test_containers_are_copies():
    inner = [1]
    checked = check_value({"a": inner})
    inner.append(2)
    assert checked == {"a": [1]}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"a": [0, {"b": {1}}]}, "args.a[1].b: a set is not a value; use a list: sorted(x)"),
        ({"a": 2**53 + 1}, "args.a: an int beyond 2**53 is not exact as a number; use Int64(x)"),
        ({"a": np.int64(2**60)}, "args.a: an int beyond 2**53"),
        (
            {"a": datetime(2026, 1, 1, tzinfo=UTC)},
            "args.a: a datetime is only stored where the schema says v.datetime()",
        ),
        ({"a": date(2026, 1, 1)}, "args.a: a date is not a value; use value.isoformat()"),
        ({"a": timedelta(1)}, "args.a: a timedelta is not a value; use value.total_seconds()"),
        ({"a": Decimal(1)}, "args.a: a Decimal is not a value; use float(x), str(x)"),
        ({"a": UUID(int=0)}, "args.a: a UUID is not a value; use str(x)"),
        ({"a": range(3)}, "args.a: a range is not a value; use list(x)"),
        ({"a": {"b": 1}.keys()}, "args.a: a dict_keys is not a value; use list(x)"),
        ({"a": np.array([1])}, "args.a: a numpy ndarray is not a value; use x.tolist()"),
        ({"a": np.longdouble(1)}, "args.a: a numpy longdouble is not a value"),
        ({"a": object()}, "args.a: an object is not a value; values are None, bool, int"),
        ({"a": 1j}, "args.a: a complex is not a value; values are None, bool, int"),
        ({"a": Point}, "args.a: a type is not a value"),
        ([UNSET], "args[0]: UNSET means absent, which only fields of objects can be"),
        ({1: 2}, "args: keys of objects are strings, not 1; use str(key)"),
        ({None: 2}, "args: keys of objects are strings, not None"),
        ({"": 2}, "args: a key of an object is empty"),
        ({"$x": 2}, "args: the key '$x' starts with $"),
        ({"é": 2}, "args: the key '\\xe9' is not printable ASCII"),
        ({"a\n": 2}, "args: the key 'a\\n' is not printable ASCII"),
        ({"a": {"b c": {1}}}, "args.a['b c']: a set"),
        ("\ud800", "args: the string has a lone surrogate (U+D800) at position 0"),
        (["ab\udfff"], "args[0]: the string has a lone surrogate (U+DFFF) at position 2"),
    ],
)
def test_what_is_no_value_is_refused_with_path_and_fix(given, message):
    with pytest.raises(InvalidValue) as caught:
        check_value(given, "args")
    assert message in str(caught.value)


def test_frames_say_how_to_become_values():
    import pandas as pd
    import polars as pl

    with pytest.raises(InvalidValue, match=r'df\.to_dict\("records"\)'):
        check_value(pd.DataFrame({"a": [1]}))
    with pytest.raises(InvalidValue, match=r"a pandas Series is not a value; use x\.tolist\(\)"):
        check_value({"a": pd.Series([1])})
    with pytest.raises(InvalidValue, match="a: NaT is no moment; use None"):
        check_value({"a": pd.NaT}, datetimes=True)
    with pytest.raises(InvalidValue, match="a pandas NAType is not a value; use None"):
        check_value({"a": pd.NA})
    assert check_value({"a": pd.Timestamp(5, unit="ms", tz="UTC")}, datetimes=True) == {"a": 5}
    with pytest.raises(InvalidValue, match=r"a polars DataFrame is not a value; use df\.to_dicts\(\)"):
        check_value(pl.DataFrame({"a": [1]}))


def test_depth_is_limited_without_recursion_errors():
    deep: object = 1
    for _ in range(64):
        deep = [deep]
    assert check_value(deep) == deep
    for _ in range(1000):
        deep = {"a": deep}
    with pytest.raises(LimitExceeded, match="nested deeper than 64 levels") as caught:
        check_value(deep, "args")
    assert len(str(caught.value)) < 300


def test_what_contains_itself_is_refused():
    cyclic: dict = {}
    cyclic["self"] = [cyclic]
    with pytest.raises(LimitExceeded, match="contains itself"):
        check_value(cyclic)


def test_counts_are_limited():
    assert len(check_value([0] * 8192)) == 8192
    with pytest.raises(LimitExceeded, match=r"args\.a: 8193 items in an array, at most 8192"):
        check_value({"a": [0] * 8193}, "args")
    assert len(check_value([0] * 9000, max_items=32_000)) == 9000
    assert len(check_value({f"f{i}": i for i in range(1024)})) == 1024
    with pytest.raises(LimitExceeded, match="1025 fields in an object"):
        check_value({f"f{i}": i for i in range(1025)})
    with pytest.raises(InvalidValue, match="1025 characters in a key"):
        check_value({"k" * 1025: 1})


def test_datetimes_become_milliseconds_where_asked():
    moment = datetime(2026, 11, 1, 12, 0, 0, 500_250, tzinfo=UTC)
    assert check_value({"a": moment}, datetimes=True) == {"a": 1793534400500.25}
    with pytest.raises(
        InvalidValue, match=r"a: a datetime without a time zone names no moment; use datetime\.now\(UTC\)"
    ):
        check_value({"a": datetime(2026, 11, 1)}, datetimes=True)  # noqa: DTZ001


@pytest.mark.parametrize("name", ["_id", "_creationTime", "_x", "__proto__"])
def test_documents_have_no_fields_of_the_system(name):
    with pytest.raises(SchemaError, match=rf'messages\.{name}: fields of documents do not start with "_"'):
        check_document({"a": 1, name: 2}, "messages")
    assert check_document({"a": {name: 2}}) == {"a": {name: 2}}


@pytest.mark.parametrize("name", ["first name", "1st", "a-b", "a.b", "x" * 65])
def test_fields_of_documents_are_identifiers(name):
    with pytest.raises(SchemaError):
        check_document({name: 1}, "messages")


def test_documents_are_dicts_of_limited_depth():
    with pytest.raises(SchemaError, match="a document is a dict, not an array of 1 items"):
        check_document([1], "messages")
    deep: object = 1
    for _ in range(16):
        deep = {"a": deep}
    assert check_document(deep) == deep
    with pytest.raises(LimitExceeded, match="nested deeper than 16 levels"):
        check_document({"a": deep})
    with pytest.raises(LimitExceeded, match="nested deeper than 16 levels"):
        check_document({"a": deep}, validator=v.object({"a": v.any()}))


def test_documents_are_checked_by_their_table():
    table = v.object({"at": v.datetime(), "n": v.optional(v.integer())})
    assert check_document({"at": datetime.fromtimestamp(1, UTC), "n": 2.0}, validator=table) == {"at": 1000, "n": 2}
    with pytest.raises(SchemaError, match=r"posts\.n: expected a whole number"):
        check_document({"at": 1, "n": "2"}, "posts", validator=table)
    meant = v.object({"category": v.string(), "day": v.optional(v.integer())})
    said = r"^args\.category: is missing; expected a string\. There is no field 'categry'; did you mean category\?$"
    with pytest.raises(SchemaError, match=said):
        check_document({"categry": "books", "day": 1}, "args", validator=meant)
    with pytest.raises(SchemaError, match="posts: there is no field '_id'"):
        check_document({"at": 1, "_id": "k"}, "posts", validator=table)


def test_strings_with_markup_or_sql_are_plain_data():
    hostile = ["'); DROP TABLE posts; --", "<img onerror=alert(1)>", "\x1b[31m", "\u202e", "=cmd()", "\x00"]
    assert check_value({"a": hostile}) == {"a": hostile}


def test_a_string_longer_than_any_result_is_refused_before_it_is_copied() -> None:
    with pytest.raises(InvalidValue, match="16777217 characters in a string"):
        check_value("x" * (16 * 1024 * 1024 + 1), "returns")
