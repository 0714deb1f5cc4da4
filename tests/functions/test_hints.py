# ruff: noqa: F821, UP037, PYI061 (tables inside Id[...] look like forward references)
from __future__ import annotations

import enum
import typing
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Any, Literal, NewType, NotRequired, Optional, Required, TypedDict, Union

import pytest

from nbreactive.errors import SchemaError
from nbreactive.functions.hints import validator_of
from nbreactive.values import UNSET, Id, Int64, Unset, v

PostsId = Annotated[Id, v.id("posts")]
UserName = NewType("UserName", str)


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Base(TypedDict):
    name: str


class Address(Base, total=False):
    city: str
    zip: Required[int]
    street: NotRequired[str]


class Post(TypedDict):
    author: Id["users"]
    address: Address
    note: NotRequired["str | None"]


@dataclass
class Point:
    x: int
    y: float = 0.0
    tags: list[str] = field(default_factory=list)


@dataclass
class Odd:
    x: int = field(init=False)


class Tree(TypedDict):
    children: list[Tree]


@pytest.mark.parametrize(
    ("hint", "validator"),
    [
        (str, v.string()),
        (int, v.integer()),
        (float, v.number()),
        (bool, v.boolean()),
        (bytes, v.bytes()),
        (None, v.null()),
        (type(None), v.null()),
        (datetime, v.datetime()),
        (Int64, v.int64()),
        (Any, v.any()),
        (object, v.any()),
        (list, v.array(v.any())),
        (list[int], v.array(v.integer())),
        (Sequence[str], v.array(v.string())),
        (tuple[int, ...], v.array(v.integer())),
        (dict, v.record(v.string(), v.any())),
        (dict[str, list[float]], v.record(v.string(), v.array(v.number()))),
        (dict[Id["posts"], int], v.record(v.id("posts"), v.integer())),
        (Literal["a"], v.literal("a")),
        (Literal["a", 1, True, None], v.union(v.literal("a"), v.literal(1), v.literal(True), v.null())),
        (Literal[Color.RED, Color.BLUE], v.union(v.literal("red"), v.literal("blue"))),
        (str | None, v.nullable(v.string())),
        (Optional[str], v.nullable(v.string())),  # noqa: UP045
        (Union[int, str], v.union(v.integer(), v.string())),  # noqa: UP007
        (str | Unset, v.string()),
        (Id["posts"], v.id("posts")),
        (PostsId, v.id("posts")),
        (Annotated[str, "a note"], v.string()),
        (Annotated[str, v.literal("x")], v.literal("x")),
        (UserName, v.string()),
        ("str", v.string()),
        ("list['PostsId'] | None", v.nullable(v.array(v.id("posts")))),
        ('Id["posts"]', v.id("posts")),
        (typing.ForwardRef("int"), v.integer()),
        (
            Address,
            v.object(
                {
                    "name": v.string(),
                    "city": v.optional(v.string()),
                    "zip": v.integer(),
                    "street": v.optional(v.string()),
                }
            ),
        ),
        (
            Post,
            v.object(
                {
                    "author": v.id("users"),
                    "address": validator_of(Address),
                    "note": v.optional(v.nullable(v.string())),
                }
            ),
        ),
        (
            Point,
            v.object({"x": v.integer(), "y": v.optional(v.number()), "tags": v.optional(v.array(v.string()))}),
        ),
    ],
)
def test_hints_are_validators(hint, validator):
    assert validator_of(hint, globals()) == validator


def test_dataclasses_come_as_themselves_and_go_as_objects():
    validator = validator_of(list[Point])
    assert validator.check([Point(1, 2), {"x": 3}]) == [{"x": 1, "y": 2.0, "tags": []}, {"x": 3}]
    assert validator.load([{"x": 3}, {"x": 1, "y": 2.0}]) == [Point(3), Point(1, 2.0)]
    assert validator_of(Point | None).load(None) is None
    assert validator_of(Point | None).load({"x": 1}) == Point(1)


@pytest.mark.parametrize(
    ("hint", "message"),
    [
        ("Missing", "the hint 'Missing' cannot be resolved: name 'Missing' is not defined; define or import it"),
        ("list[", "the hint 'list[' cannot be resolved: "),
        ("1/0", "the hint '1/0' cannot be resolved: division by zero"),
        ("nowhere.Thing", "the hint 'nowhere.Thing' cannot be resolved: name 'nowhere'"),
        (complex, "the hint complex has no validator; use str, int"),
        (set[int], "the hint set[int] has no validator"),
        (tuple[int, str], "the hint tuple[int, str] has no validator"),
        (Color, "the hint Color has no validator"),
        (5, "the hint 5 has no validator"),
        (typing.TypeVar("T"), "the hint ~T has no validator"),
        (Id, 'the hint Id does not say of which table; use Id["table"]'),
        (Tree, "Tree refers to itself, which no validator can; hint that field as Any"),
        (Odd, "Odd.x has init=False"),
        (v.string(), "v.string() is a validator, not a type; use Annotated"),
        (dict[int, str], "keys of v.record() are v.string() or v.id(...), not v.integer()"),
        (Literal[b"x"], "v.literal() takes a string, number or boolean"),
        (list["Missing"], "the hint 'Missing' cannot be resolved"),
    ],
)
def test_other_hints_are_refused_by_name(hint, message):
    with pytest.raises(SchemaError) as caught:
        validator_of(hint, globals())
    assert str(caught.value).startswith(message)


def test_unset_alone_means_nothing():
    assert validator_of("str | Unset", {"Unset": Unset}) == v.string()
    assert UNSET is not None
