"""For whatever validators: the generated files are clean, take what a validator takes, and refuse what it refuses.

A run of a type checker takes seconds, so each example is a deployment of many functions.
"""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from hypothesis import strategies as st

from nbreactive.errors import InvalidValue
from nbreactive.functions.specs import FunctionSpec, TableSpec
from nbreactive.services.stubs import write_stubs
from nbreactive.values.ids import encode_id
from nbreactive.values.validators import Validator, v
from tests.services.stubs.project import has_node, pyright, tsc

ID = str(encode_id(10001, bytes(16)))
TABLES = ("posts", "blog_posts", "none")
WORDS = ("from", "class", "str", "list", "Any", "_id", "__x", "keys", "a-b", "Posts", "é", "x y", "value", "datetime")
names = st.sampled_from(WORDS) | st.from_regex(r"[a-z][a-z_]{0,5}", fullmatch=True)

Sample = tuple[Any, str, str]
"""A value, as Python writes it, as TypeScript does."""
Case = tuple[Validator, Sample]


def leaf(validator: Validator, samples: st.SearchStrategy[Sample]) -> st.SearchStrategy[Case]:
    return samples.map(lambda sample: (validator, sample))


def plain(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Sample]:
    return values.map(lambda value: (value, repr(value), json.dumps(value)))


text = plain(
    st.text(st.characters(codec="utf-8", exclude_characters="\u2028\u2029"), max_size=8)
    | st.sampled_from(['"""', "*/"])
)
number = plain(st.integers(-9, 9) | st.sampled_from([0.5, -1e300]))
ids = st.sampled_from(TABLES).flatmap(
    lambda table: leaf(
        v.id(table),
        st.just(
            (
                ID,
                f"{ {'posts': 'Posts', 'blog_posts': 'BlogPosts', 'none': 'None2'}[table] }Id({ID!r})",
                f"({ID!r} as Id<{table!r}>)",
            )
        ),
    )
)
literals = st.one_of(
    text, st.sampled_from([1, 2.0, -3, 1.5, True, False]).map(lambda x: (x, repr(x), json.dumps(x)))
).map(
    lambda sample: (
        v.literal(sample[0]),
        (sample[0], repr(int(sample[0])) if sample[0] == 2.0 else sample[1], sample[2]),
    )
)
leaves = st.one_of(
    leaf(v.string(), text),
    leaf(v.number(), number),
    leaf(v.integer(), plain(st.integers(-9, 9))),
    leaf(v.int64(), st.integers(-9, 9).map(lambda n: (n, repr(n), f"{n}n"))),
    leaf(v.boolean(), plain(st.booleans())),
    leaf(v.null(), plain(st.none())),
    leaf(v.datetime(), plain(st.integers(-9, 9) | st.just(0.5))),
    leaf(v.bytes(), st.just((b"x", "b'x'", "new ArrayBuffer(1)"))),
    leaf(v.id("elsewhere"), st.just((ID, repr(ID), f"({ID!r} as Id<'elsewhere'>)"))),
    ids,
    literals,
)


@st.composite
def arrays(draw: st.DrawFn, inner: st.SearchStrategy[Case]) -> Case:
    validator, sample = draw(inner)
    items = [sample] * draw(st.integers(0, 2))
    return v.array(validator), (
        [i[0] for i in items],
        f"[{', '.join(i[1] for i in items)}]",
        f"[{', '.join(i[2] for i in items)}]",
    )


@st.composite
def records(draw: st.DrawFn, inner: st.SearchStrategy[Case]) -> Case:
    validator, sample = draw(inner)
    keys = draw(st.lists(st.from_regex(r"[a-z]{1,4}", fullmatch=True), max_size=2, unique=True))
    return v.record(v.string(), validator), _fields(dict.fromkeys(keys, sample))


@st.composite
def objects(draw: st.DrawFn, inner: st.SearchStrategy[Case]) -> Case:
    fields = draw(st.dictionaries(names.filter(lambda name: name.isascii()), inner, max_size=4))
    optional = {name for name in fields if draw(st.booleans())}
    left_out = {name for name in optional if draw(st.booleans())}
    validator = v.object({name: each.optional() if name in optional else each for name, (each, _) in fields.items()})
    return validator, _fields({name: sample for name, (_, sample) in fields.items() if name not in left_out})


@st.composite
def unions(draw: st.DrawFn, inner: st.SearchStrategy[Case]) -> Case:
    members = draw(st.lists(inner, min_size=1, max_size=3))
    return v.union(*(validator for validator, _ in members)), draw(st.sampled_from([sample for _, sample in members]))


def _fields(samples: dict[str, Sample]) -> Sample:
    python = ", ".join(f"{name!r}: {sample[1]}" for name, sample in samples.items())
    typescript = ", ".join(f"{json.dumps(name)}: {sample[2]}" for name, sample in samples.items())
    return {name: sample[0] for name, sample in samples.items()}, f"{{{python}}}", f"{{ {typescript} }}"


cases = st.recursive(
    leaves, lambda inner: st.one_of(arrays(inner), records(inner), objects(inner), unions(inner)), max_leaves=6
)
many = st.lists(cases, min_size=90, max_size=90)


@pytest.fixture(scope="module", params=[20261122])
def generated(request: pytest.FixtureRequest) -> list[Case]:
    found: list[list[Case]] = []

    @hypothesis.seed(request.param)
    @hypothesis.settings(max_examples=6, database=None, phases=[hypothesis.Phase.generate])
    @hypothesis.given(many)
    def collect(example: list[Case]) -> None:
        found.append(example)

    collect()
    return max(found, key=lambda example: len(repr(example)))


def write(folder: Path, found: list[Case]) -> None:
    functions = [
        FunctionSpec(
            f"m:f{number}",
            "query",
            "public",
            v.object({"x": validator}).to_json(),
            validator.to_json(),
            doc='*/ """ \\',
        )
        for number, (validator, _) in enumerate(found)
    ]
    tables = [TableSpec(name, "m", v.object({"title": v.string()}).to_json()) for name in TABLES]
    # Names that the generated files use themselves.
    names = ("live", "bound", "mapping", "sequence", "query_ctx", "unset", "any", "posts_query", "index_range")
    tables += [TableSpec(name, "m", v.object({"unset": v.string()}).to_json()) for name in names]
    # Some of the objects as tables, too.
    fields = [validator for validator, _ in found if validator.kind == "object"]
    tables += [
        TableSpec(f"t_{number}", "m", each.to_json(), {"by_it": list(each.fields)[:1]})  # type: ignore[attr-defined]
        for number, each in enumerate(fields)
        if not {"_id", "__x", "a-b", "x y"} & each.fields.keys()  # type: ignore[attr-defined]
    ]
    write_stubs(functions, tables, folder / "reactive")


@pytest.mark.slow
def test_python(generated: list[Case], tmp_path: Path) -> None:
    write(tmp_path, generated)
    lines = [
        "from reactive._generated.api import api",
        "from reactive._generated.data_model import BlogPostsId, None2Id, PostsId",
        "",
    ]
    lines += ["print(BlogPostsId, None2Id, PostsId)"]
    wrong: set[int] = set()
    for number, (validator, (value, written, _)) in enumerate(generated):
        validator.check(value)  # the sample is right
        lines.append(f"api.m.f{number}(x={written})")
    for number, (validator, _) in enumerate(generated):
        try:
            validator.check(1 + 2j)
        except InvalidValue:
            lines.append(f"api.m.f{number}(x=1 + 2j)")
            wrong.add(len(lines))
    (tmp_path / "calls.py").write_text("\n".join(lines) + "\n", "utf-8")
    assert len(wrong) == len(generated)
    assert "PostsId" in runpy.run_path(str(tmp_path / "reactive" / "_generated" / "data_model.py"))
    assert pyright(tmp_path) == {"calls.py": {(line, "reportArgumentType") for line in wrong}}


@pytest.mark.slow
@pytest.mark.skipif(not has_node(), reason="needs node, npm, and the front end's TypeScript")
def test_typescript(generated: list[Case], tmp_path: Path) -> None:
    write(tmp_path, generated)
    lines = [
        'import { ConvexHttpClient } from "convex/browser";',
        'import type { GenericId as Id } from "convex/values";',
        'import { api } from "./reactive/_generated/api";',
        'const http = new ConvexHttpClient("http://127.0.0.1:1");',
    ]
    lines += [
        f"void http.query(api.m.f{number}, {{ x: {sample[2]} }});" for number, (_, sample) in enumerate(generated)
    ]
    first = len(lines) + 1
    lines += [f"void http.query(api.m.f{number}, {{ x: Symbol() }});" for number in range(len(generated))]
    (tmp_path / "calls.ts").write_text("\n".join(lines) + "\n", "utf-8")
    found = tsc(tmp_path)
    assert found.keys() == {"calls.ts"}
    assert {line for line, _ in found["calls.ts"]} == set(range(first, len(lines) + 1))
