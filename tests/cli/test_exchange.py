from __future__ import annotations

import json
import urllib.error
import urllib.request
import zipfile
from pathlib import Path
from typing import Any

import pytest

from nbreactive.values import Int64, decode_json
from nbreactive.values.ids import decode_id, encode_id
from nbreactive.values.packing import pack
from tests.cli.test_backup import nbreactive
from tests.served import KEY, Served

FUNCTIONS = """
from nbreactive import define_schema, define_table, mutation, query, v

schema = define_schema({
    "users": define_table({"name": v.string(), "visits": v.integer()}),
    "posts": define_table({"author": v.id("users"), "tags": v.array(v.any()), "more": v.optional(v.any())}),
})

@mutation
def fill(ctx, n: int):
    for i in range(n):
        user = ctx.db.insert("users", {"name": f"user {i}", "visits": i})
        more = [i + 0.5, float(i), -0.0, float("inf"), b"raw", None, True, {"in": [user]}]
        ctx.db.insert("posts", {"author": user, "tags": ["a", user], "more": more})
    ctx.db.insert("loose", {"big": v_int64(2**62), "text": "line\\nnext \\u2028 \\u00fc"})

@query
def everything(ctx):
    return {name: ctx.db.query(name).collect() for name in ["users", "posts", "loose"]}
""".replace("v_int64", "Int64").replace(
    "from nbreactive import", "from nbreactive.values import Int64\nfrom nbreactive import", 1
)

TAKES = ("--admin-key", KEY, "--json")


def lines(path: Path, table: str) -> list[str]:
    with zipfile.ZipFile(path) as archive:
        return archive.read(f"{table}/documents.jsonl").decode().split("\n")[:-1]


def everything(backend: Served) -> Any:
    answer = backend.fetch("/api/query", {"path": "notes:everything", "args": {}, "format": "convex_encoded_json"})
    assert answer["status"] == "success", answer
    return decode_json(json.dumps(answer["value"]))


def test_an_export_is_imported_as_it_was_and_exported_again_the_same(tmp_path: Path) -> None:
    first, second = tmp_path / "first.zip", tmp_path / "second.zip"
    with Served(tmp_path / "a", {"notes": FUNCTIONS}) as backend:
        backend.call("mutation", "notes:fill", n=30)
        said = nbreactive("export", first, "--at", backend.url, *TAKES)
        assert said["documents"] == 61 and set(said["tables"]) == {"users", "posts", "loose"}
        wanted = everything(backend)
    with zipfile.ZipFile(first) as archive:
        names = archive.namelist()
        assert {"README.md", "_tables/documents.jsonl", "_storage/documents.jsonl"} <= set(names)
        assert archive.read("users/generated_schema.jsonl") == b'"uniform"\n'
        tables = [json.loads(line) for line in archive.read("_tables/documents.jsonl").splitlines()]
        assert {table["name"]: table["id"] for table in tables} == {
            table["name"]: decode_id(wanted[table["name"]][0]["_id"])[0] for table in tables
        }
    (loose,) = lines(first, "loose")
    assert f'"big":{2**62},' in loose
    assert '"visits":29.0}' in lines(first, "users")[29]
    with Served(tmp_path / "b", {"notes": FUNCTIONS}) as backend:
        said = nbreactive("import", first, "--at", backend.url, *TAKES)
        assert said == {"documents": 61, "tables": {"users": 30, "posts": 30, "loose": 1}, "left_out": []}
        assert everything(backend) == wanted
        assert type(everything(backend)["loose"][0]["big"]) is Int64
        nbreactive("export", second, "--at", backend.url, *TAKES)
        for table in ("users", "posts", "loose"):
            assert lines(first, table) == lines(second, table)
        assert "already" in nbreactive("import", first, "--at", backend.url, "--admin-key", KEY, status=1)
        refused = nbreactive("import", first, "--append", "--at", backend.url, "--admin-key", KEY, status=1)
        assert "there is a document with the id" in refused
        backend.call("mutation", "notes:fill", n=2)
        nbreactive("import", first, "--replace", "--at", backend.url, *TAKES)
        assert everything(backend) == wanted
        only = nbreactive("export", second, "--table", "users", "--at", backend.url, *TAKES)
        assert only["tables"] == ["users"] and lines(second, "users") == lines(first, "users")
        nbreactive("import", second, "--replace-all", "--at", backend.url, *TAKES)
        assert everything(backend) == {"users": wanted["users"], "posts": [], "loose": []}
        assert nbreactive("doctor", backend.url, *TAKES)["healthy"]
    # A folder that nobody serves
    nbreactive("export", second, "--at", backend.data, "--json")
    assert lines(second, "users") == lines(first, "users") and lines(second, "posts") == []


def test_ids_are_rewritten_everywhere_where_a_table_has_another_number(tmp_path: Path) -> None:
    archive = tmp_path / "convex.zip"
    user, post, other = (str(encode_id(n, bytes([n % 256]) * 16)) for n in (10_001, 10_002, 10_007))
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("_tables/documents.jsonl", '{"name":"people","id":10001}\n{"name":"letters","id":10002}\n')
        file.writestr("people/documents.jsonl", json.dumps({"_id": user, "_creationTime": 5.5, "n": 1}) + "\n")
        letter = {"_id": post, "_creationTime": 6.0, "by": user, "in": {"list": [user, other, user[:-1]]}}
        file.writestr("letters/documents.jsonl", json.dumps(letter) + "\n")
        file.writestr("_storage/documents.jsonl", "")
        file.writestr("_components/mail/sent/documents.jsonl", "{}\n")
    with Served(tmp_path, {"notes": FUNCTIONS}) as backend:  # users and posts have these numbers
        said = nbreactive("import", archive, "--at", backend.url, *TAKES)
        assert said["documents"] == 2 and said["left_out"] == ["_components/mail/sent"]
        again = tmp_path / "again.zip"
        nbreactive("export", again, "--at", backend.url, *TAKES)
    (person,), (sent,) = ([json.loads(line) for line in lines(again, table)] for table in ("people", "letters"))
    assert decode_id(person["_id"])[0] not in (10_001, 10_002)
    assert decode_id(person["_id"])[1] == decode_id(user)[1]
    assert person | {"_id": ""} == {"_id": "", "_creationTime": 5.5, "n": 1}
    assert '"n":1}' in lines(again, "people")[0]  # a 64-bit integer has no dot
    assert sent["by"] == person["_id"]
    assert sent["in"] == {"list": [person["_id"], other, user[:-1]]}


def test_tables_from_csv_jsonl_and_json(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('name,visits,note\n"Ann, A.",3,\n\n1e400,4.5e1,"x\n""1_0"""\n', "utf-8")
    (tmp_path / "b.jsonl").write_text('{"name": "Cy", "visits": 7}\n\n{"name": "Di", "visits": 8}\n', "utf-8")
    (tmp_path / "c.json").write_text('[{"name": "Ed", "visits": 9}]', "utf-8")
    (tmp_path / "bad.jsonl").write_text('{"name": "Fay", "visits": 1}\n{"name": "Gil", "visits": "many"}\n', "utf-8")
    with Served(tmp_path, {"notes": FUNCTIONS}) as backend:
        place = ("--at", backend.url, "--admin-key", KEY)

        def take(name: str, *more: str, status: int = 0) -> Any:
            return nbreactive("import", tmp_path / name, "--json", *place, *more, status=status)

        assert take("a.csv", "--table", "csv")["documents"] == 2
        assert take("b.jsonl", "--table", "users")["documents"] == 2
        assert take("c.json", "--table", "users", "--append")["documents"] == 1
        refused = take("bad.jsonl", "--table", "users", "--append", status=1)
        assert "document 2 of the batch for 'users'" in refused and "visits" in refused
        assert [(u["name"], u["visits"]) for u in everything(backend)["users"]] == [("Cy", 7), ("Di", 8), ("Ed", 9)]
        assert "name it with --table" in take("c.json", status=1)
        assert "to import into" in take("c.json", "--table", "_modules", status=1)
        assert "cannot be the name of a table" in take("c.json", "--table", "_mine", status=1)
        assert "none of .zip" in take("../nothing.txt", status=1)
        nbreactive("export", tmp_path / "out.zip", "--table", "csv", *place)
    rows = [json.loads(line) for line in lines(tmp_path / "out.zip", "csv")]
    assert [{k: v for k, v in row.items() if k[0] != "_"} for row in rows] == [
        {"name": "Ann, A.", "visits": 3.0},
        {"name": "1e400", "visits": 45.0, "note": 'x\n"1_0"'},
    ]


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        ("late.jsonl", '{"name": "Jo", "visits": 1}\n' * 1500 + "{\n", "late.jsonl line 1501"),
        ("late.jsonl", '{"name": "Jo", "visits": 1}\n' * 1500 + '{"name": 5, "visits": 1}\n', "name"),
        (
            "long.csv",
            "name,visits\n" + "Jo,1\n" * 1500 + "x" * 200_000 + ",1\n",
            "long.csv line 1502: the row that begins there cannot be read",
        ),
        ("open.csv", 'name,visits\nJo,1\n"Ed,2\nFay,3\nGil,4\n', "open.csv line 3"),
        ("quote.csv", 'name,visits\nJo,1\n"Ed" 2,2\n', "quote.csv line 3"),
        ("head.csv", '"name,visits\nJo,1\n', "head.csv line 1"),
        ("columns.csv", "name,visits,name\nJo,1,Ed\n", "'name' is there twice"),
        ("unnamed.csv", ",name,visits\n0,Jo,1\n", "column 1 has no name"),
        ("more.csv", 'name,visits\n"Jo\nEd",1\nFay,1,2\n', "more.csv line 4: it has 3 values, and line 1 names 2"),
        ("fewer.csv", "name,visits\nJo\n", "fewer.csv line 2"),
        ("empty.csv", "", "it names no fields"),
        ("large.jsonl", '{"name": "Jo", "visits": 1}\n{"name": "Ed", "visits": 1e400}\n', "large.jsonl line 2"),
        ("large.json", '[{"name": "Jo", "visits": -1e999}]', "-1e999 is beyond the largest number"),
        ("pair.json", '[{"name": "Jo", "name": "Ed", "visits": 1}]', "a key is there twice"),
        ("future.jsonl", '{"name": "Jo", "visits": 1, "_creationTime": 1e300}\n', "no time between 1970 and now"),
        ("micro.jsonl", '{"name": "Jo", "visits": 1, "_creationTime": 1700000000000000}\n', "no time between"),
        ("before.jsonl", '{"name": "Jo", "visits": 1, "_creationTime": -5}\n', "no time between 1970 and now"),
        ("list.jsonl", '{"name": "Jo", "visits": 1}\n[1]\n', "list.jsonl line 2"),
        ("twice.json", json.dumps([{"_id": encode_id(10_002, b"x" * 16), "name": "Jo", "visits": 1}] * 2), "twice"),
    ],
)
def test_a_file_that_cannot_be_imported_whole_replaces_nothing(tmp_path: Path, name: str, text: str, why: str) -> None:
    (tmp_path / name).write_text(text, "utf-8")
    with Served(tmp_path, {"notes": FUNCTIONS}) as backend:
        backend.call("mutation", "notes:fill", n=3)
        wanted = everything(backend)
        for how in ("--replace", "--append"):
            command = ("import", tmp_path / name, "--table", "users", how, "--at", backend.url, "--admin-key", KEY)
            assert why in nbreactive(*command, status=1)
            assert everything(backend) == wanted


def test_one_table_of_an_archive_keeps_what_its_ids_refer_to(tmp_path: Path) -> None:
    archive = tmp_path / "convex.zip"
    # Here, these are the numbers of posts, users and loose
    user, post, missing = (encode_id(number, b"%16d" % number) for number in (10_001, 10_002, 10_003))
    with zipfile.ZipFile(archive, "w") as file:
        tables = {"users": 10_001, "posts": 10_002, "absent": 10_003}
        named = "".join(json.dumps({"name": name, "id": number}) + "\n" for name, number in tables.items())
        file.writestr("_tables/documents.jsonl", named)
        file.writestr("users/documents.jsonl", json.dumps({"_id": user, "name": "Ann", "visits": 1.0}) + "\n")
        letter = {"_id": post, "author": user, "tags": [missing]}
        file.writestr("posts/documents.jsonl", json.dumps(letter) + "\n")
    with Served(tmp_path, {"notes": FUNCTIONS}) as backend:
        backend.call("mutation", "notes:fill", n=1)  # `loose` has a number, too
        (there,) = everything(backend)["users"]
        said = nbreactive("import", archive, "--table", "posts", "--replace", "--at", backend.url, *TAKES)
        assert said["tables"] == {"posts": 1}
        found = everything(backend)
        assert found["users"] == [there]
        (sent,) = found["posts"]
    assert decode_id(sent["author"]) == (decode_id(there["_id"])[0], decode_id(user)[1])
    number, internal = decode_id(sent["tags"][0])
    assert internal == decode_id(missing)[1]
    assert number not in {decode_id(document["_id"])[0] for table in found.values() for document in table}


@pytest.mark.parametrize("path", ["backup", "documents", "doctor"])
def test_the_doors_are_for_administrators(tmp_path: Path, path: str) -> None:
    with Served(tmp_path, {"notes": FUNCTIONS}) as backend:
        assert backend.fetch(f"/api/admin/{path}")["code"] == "Refused"
        assert backend.fetch("/api/admin/import", {})["code"] == "Refused"
        assert backend.fetch("/api/admin/retention", {})["code"] == "Refused"


def test_two_imports_at_once_are_told_of_each_other(tmp_path: Path) -> None:
    with Served(tmp_path, {"notes": FUNCTIONS}) as backend:

        def step(**said: Any) -> Any:
            headers = {"Authorization": f"Convex {KEY}", "Content-Type": "application/msgpack"}
            request = urllib.request.Request(f"{backend.url}/api/admin/import", pack(said), headers)
            try:
                with urllib.request.urlopen(request, timeout=60) as answer:
                    return json.loads(answer.read())
            except urllib.error.HTTPError as error:
                with error:
                    return json.loads(error.read())

        number = step(tables={"users": 0})["tables"]["users"]
        documents = [{"_id": str(encode_id(number, b"x" * 16)), "name": "Jo", "visits": 1}]
        for _ in range(2):  # both clear, and only then the first inserts
            step(table="users", clear=True)
        assert step(table="users", documents=documents, cleared=True) == {"inserted": 1}
        refused = step(table="users", documents=documents, cleared=True)["message"]
        assert "another import at the same time" in refused
        assert "already; import with --replace" in step(table="users", documents=documents)["message"]
