from __future__ import annotations

import pytest

from nbreactive.errors import SchemaError
from nbreactive.functions import define_schema, define_table
from nbreactive.functions.specs import SearchIndexSpec, TableSpec, VectorIndexSpec
from nbreactive.values import v

POSTS = define_table(
    {
        "title": v.string(),
        "author": v.object({"name": v.string(), "tags": v.optional(v.array(v.string()))}),
        "extra": v.any(),
        "kind": v.nullable(v.object({"code": v.integer()})),
    }
)


def test_definitions_travel_as_specs():
    table = POSTS.index("by_title", ["title"]).index("by_author", ["author.name", "title"])
    schema = define_schema({"posts": table, "free": define_table(v.any(), ephemeral=True)})
    posts, free = schema.specs("blog", line=3)
    assert posts == TableSpec(
        name="posts",
        module="blog",
        validator=table.validator.to_json(),
        indexes={"by_title": ["title"], "by_author": ["author.name", "title"]},
        line=3,
    )
    assert free.ephemeral
    assert free.validator == {"type": "any"}
    assert schema.validation
    assert not define_schema({}, schema_validation=False).validation


def test_tables_do_not_change():
    POSTS.index("by_title", ["title"])
    assert POSTS.indexes == {}


@pytest.mark.parametrize("fields", [["title"], ["author.name"], ["extra"], ["extra.deep.er"], ["kind.code"], ["kind"]])
def test_fields_that_can_be_indexed(fields):
    assert POSTS.index("i", fields).indexes == {"i": fields}


def test_unions_and_free_tables_can_be_indexed():
    union = define_table(v.union(v.object({"a": v.any()}), v.object({"b": v.any()})))
    assert union.index("i", ["a", "b"]).indexes == {"i": ["a", "b"]}
    assert define_table(v.any()).index("i", ["x.y"]).indexes == {"i": ["x.y"]}
    with pytest.raises(SchemaError, match="documents of the table have no field 'c'; the fields are: a, b"):
        union.index("i", ["c"])


@pytest.mark.parametrize(
    ("name", "fields", "message"),
    [
        ("by_id", ["title"], "index 'by_id': every table has by_id already"),
        ("by_creation_time", ["title"], "every table has by_creation_time already"),
        ("_x", ["title"], "the name of an index cannot be '_x'"),
        ("a b", ["title"], "the name of an index cannot be 'a b'"),
        ("x" * 65, ["title"], "65 characters in the name of an index, at most 64"),
        ("i", [], "an index takes a list of one field or more"),
        ("i", "title", 'an index takes a list of one field or more; write ["author"]'),
        ("i", ["title", "title"], "the field 'title' is there twice"),
        ("i", ["_creationTime"], "the system field '_creationTime' cannot be indexed (_creationTime ends every index"),
        ("i", ["_id"], "the system field '_id' cannot be indexed"),
        ("i", ["titel"], "documents of the table have no field 'titel'; did you mean 'title'?"),
        ("i", ["author.nam"], "have no field 'author.nam'"),
        ("i", ["title.x"], "have no field 'title.x'"),
        ("i", ["a..b"], "the field 'a..b': "),
        ("i", ["é"], "the field '\\xe9': "),
        ("i", [f"f{i}" for i in range(17)], "17 fields in an index, at most 16"),
    ],
)
def test_indexes_that_are_refused(name, fields, message):
    with pytest.raises(SchemaError) as caught:
        POSTS.index(name, fields)
    assert message in str(caught.value)


def test_index_names_and_counts():
    with pytest.raises(SchemaError, match="an index of that name already"):
        POSTS.index("i", ["title"]).index("i", ["extra"])
    table = POSTS
    for number in range(64):
        table = table.index(f"i{number}", ["title"])
    with pytest.raises(SchemaError, match="65 indexes, at most 64"):
        table.index("one_more", ["title"])


@pytest.mark.parametrize(
    ("documents", "message"),
    [
        ({"_id": v.any()}, '_id: fields of documents do not start with "_"'),
        ({"first name": v.any()}, "fields of documents are made of letters"),
        ({"a": str}, "the field 'a' takes a validator"),
        (v.string(), "documents are objects, not v.string()"),
        (v.union(v.object({}), v.null()), "documents are objects, not v.null()"),
        (v.union(v.object({}), v.any()), "documents are objects, not v.any()"),
    ],
)
def test_documents_that_are_refused(documents, message):
    with pytest.raises(SchemaError) as caught:
        define_table(documents)
    assert message in str(caught.value)


def test_depth_of_documents():
    validator = v.string()
    for _ in range(15):
        validator = v.array(validator)
    define_table({"a": validator})
    with pytest.raises(SchemaError, match="17 levels of nesting in a document, at most 16"):
        define_table({"a": v.array(validator)})


@pytest.mark.parametrize("name", ["_posts", "1st", "my posts", "", "'); DROP TABLE x; --", "pósts", "x" * 65])
def test_table_names(name):
    with pytest.raises(SchemaError, match="the name of a table"):
        define_schema({name: define_table({})})


def test_other_things_are_no_tables():
    with pytest.raises(SchemaError, match=r"posts: a table is what define_table\(\) returns"):
        define_schema({"posts": v.object({})})
    table = define_table({})
    with pytest.raises(SchemaError, match="10001 tables"):
        define_schema({f"t{i}": table for i in range(10_001)})


SEARCHED = define_table({"title": v.string(), "lang": v.string(), "e": v.array(v.number())})


def test_search_and_vector_indexes_travel():
    table = SEARCHED.search_index("words", search_field="title", filter_fields=["lang"]).vector_index(
        "near", vector_field="e", dimensions=3
    )
    spec = table.spec("docs", "m")
    assert spec.search_indexes == {"words": SearchIndexSpec("title", ("lang",))}
    assert spec.vector_indexes == {"near": VectorIndexSpec("e", 3)}
    assert SEARCHED.search_indexes == {}
    assert repr(table).endswith(
        ".search_index('words', search_field='title', filter_fields=['lang'])"
        ".vector_index('near', vector_field='e', dimensions=3)"
    )


def test_search_and_vector_indexes_are_checked():
    words = SEARCHED.search_index("words", search_field="title")
    for wrong, message in (
        (lambda: words.index("words", ["title"]), "an index of that name already"),
        (lambda: words.vector_index("words", vector_field="e", dimensions=3), "an index of that name already"),
        (lambda: SEARCHED.search_index("w", search_field="titel"), "did you mean 'title'"),
        (lambda: SEARCHED.search_index("w", search_field=["title"]), "is the name of one field"),
        (lambda: SEARCHED.search_index("w", search_field="_id"), "system field '_id'"),
        (lambda: SEARCHED.search_index("w", search_field="title", filter_fields="lang"), "takes a list of fields"),
        (lambda: SEARCHED.search_index("w", search_field="title", filter_fields=["title"]), "and no filter"),
        (lambda: SEARCHED.search_index("w", search_field="title", filter_fields=["lang"] * 17), "17 filter fields"),
        (lambda: SEARCHED.search_index("w", search_field="title", filter_fields=["x"]), "no field 'x'"),
        (lambda: SEARCHED.vector_index("n", vector_field="e", dimensions=1), "from 2 to 4096, not 1"),
        (lambda: SEARCHED.vector_index("n", vector_field="e", dimensions=4097), "from 2 to 4096, not 4097"),
        (lambda: SEARCHED.vector_index("n", vector_field="e", dimensions="3"), "not '3'"),
    ):
        with pytest.raises(SchemaError, match=message):
            wrong()
    full = SEARCHED
    for number in range(4):
        full = full.search_index(f"s{number}", search_field="title").vector_index(
            f"v{number}", vector_field="e", dimensions=2
        )
    with pytest.raises(SchemaError, match="5 search indexes, at most 4 are allowed"):
        full.search_index("one_more", search_field="title")
    with pytest.raises(SchemaError, match="5 vector indexes, at most 4 are allowed"):
        full.vector_index("one_more", vector_field="e", dimensions=2)
