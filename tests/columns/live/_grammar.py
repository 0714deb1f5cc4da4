"""Statements made from a grammar, and changes of the two small tables that they are about. All from one seed."""

from __future__ import annotations

import datetime as dt
import math
import random
from typing import Any

import pyarrow as pa

TABLES = (
    """CREATE TABLE t (_id VARCHAR, _creationTime DOUBLE, i BIGINT, j BIGINT, x DOUBLE, y DOUBLE, s VARCHAR, c VARCHAR,
       b BOOLEAN, d TIMESTAMP WITH TIME ZONE, l BIGINT[], o STRUCT(a BIGINT, w VARCHAR), q JSON, m DECIMAL(12, 2))""",
    "CREATE TABLE u (_id VARCHAR, _creationTime DOUBLE, k BIGINT, name VARCHAR, w DOUBLE)",
)
SCHEMAS = {
    "t": pa.schema(
        {
            "_id": pa.string(),
            "_creationTime": pa.float64(),
            "i": pa.int64(),
            "j": pa.int64(),
            "x": pa.float64(),
            "y": pa.float64(),
            "s": pa.string(),
            "c": pa.string(),
            "b": pa.bool_(),
            "d": pa.timestamp("us", "UTC"),
            "l": pa.list_(pa.int64()),
            "o": pa.struct({"a": pa.int64(), "w": pa.string()}),
            "q": pa.string(),
            "m": pa.decimal128(12, 2),
        }
    ),
    "u": pa.schema(
        {"_id": pa.string(), "_creationTime": pa.float64(), "k": pa.int64(), "name": pa.string(), "w": pa.float64()}
    ),
}
TEXTS = ["", "a", "b", "Élan", "zoë", "ZZ", "ñandú", "a\x00b", "日本", "%_"]
LARGEST = 1e17


class Values:
    """Rows."""

    def __init__(self, random: random.Random) -> None:
        self.random = random

    def row(self, table: str, number: int) -> dict[str, Any]:
        pick, maybe = self.random.choice, self._maybe
        quarter = lambda: self.random.randrange(-40, 4000) / 4  # noqa: E731
        if table == "u":
            return {
                "_id": f"u{number:03}",
                "_creationTime": float(number // 3),
                "k": maybe(lambda: self.random.randrange(5)),
                "name": maybe(lambda: pick(TEXTS)),
                "w": maybe(quarter),
            }
        special = [math.nan, math.inf, -math.inf, LARGEST, 0.0, -0.0, 5e-324]
        return {
            "_id": f"t{number:03}",
            "_creationTime": float(number // 3),
            "i": maybe(lambda: pick([self.random.randrange(-3, 6), 2**53 - 1])),
            "j": maybe(lambda: self.random.randrange(4)),
            "x": maybe(lambda: pick(special) if self.random.random() < 0.2 else quarter()),
            "y": maybe(quarter),
            "s": maybe(lambda: pick(TEXTS)),
            "c": maybe(lambda: pick("ABC")),
            "b": maybe(lambda: pick([True, False])),
            "d": maybe(lambda: dt.datetime(2026, 1 + self.random.randrange(3), 1, 12, tzinfo=dt.UTC)),
            "l": maybe(lambda: [pick([None, 1, 2]) for _ in range(self.random.randrange(3))]),
            "o": maybe(lambda: {"a": self.random.randrange(3), "w": pick(TEXTS)}),
            "q": maybe(lambda: pick(['{"a": 1}', "[1,2]", '"x"', "null"])),
            "m": maybe(lambda: dt_decimal(self.random.randrange(-500, 500))),
        }

    def rows(self, table: str, numbers: list[int]) -> pa.Table:
        return pa.Table.from_pylist([self.row(table, number) for number in numbers], SCHEMAS[table])

    def _maybe(self, make: Any) -> Any:
        return None if self.random.random() < 0.15 else make()


def dt_decimal(hundredths: int) -> Any:
    from decimal import Decimal

    return Decimal(hundredths).scaleb(-2)


class Grammar:
    """Statements. Those that DuckDB itself may answer in several ways are left out (order of rows in list(), ..)."""

    def __init__(self, random: random.Random) -> None:
        self.random = random
        self.join = False

    def statement(self) -> str:
        kind = self.random.random()
        self.join = self.random.random() < 0.12
        if kind < 0.3:
            return self.filter()
        if kind < 0.45:
            return f"{self.filter()} LIMIT {self.random.randrange(8)}{self.sometimes(' OFFSET 2', 0.3)}"
        if kind < 0.85:
            return self.aggregation()
        if kind < 0.93:
            self.join = False
            return (
                f"SELECT DISTINCT {self.key()} AS p, {self.key()} AS r{self.tail()}{self.sometimes(' ORDER BY r DESC')}"
            )
        return self.other()

    def filter(self) -> str:
        columns = [
            self.pick(self.int, self.double, self.string, self.bool, self.key, self.nested)()
            for _ in range(self.random.randrange(1, 4))
        ]
        named = [f"{column} AS e{n}" if self.random.random() < 0.5 else column for n, column in enumerate(columns)]
        star = self.pick("*", "t.*", "* EXCLUDE (o, q)") if self.random.random() < 0.2 else ", ".join(named)
        order = self.sometimes(f" ORDER BY {self.order()}", 0.6)
        return f"SELECT {star}{self.tail()}{order}"

    def aggregation(self) -> str:
        keys = [self.key() for _ in range(self.pick(0, 1, 1, 2))]
        calls = [self.call() for _ in range(self.random.randrange(1, 4))]
        shown = [
            *(f"{key} AS g{n}" for n, key in enumerate(keys)),
            *(f"{call} AS a{n}" for n, call in enumerate(calls)),
        ]
        by = (
            f" GROUP BY {self.pick('ALL', ', '.join(keys), ', '.join(str(n + 1) for n in range(len(keys))))}"
            if keys
            else ""
        )
        having = self.sometimes(
            f" HAVING {self.pick('count(*) > 1', 'min(j) < 3', 'count(x) BETWEEN 1 AND 4', f'{calls[0]} IS NOT NULL')}",
            0.3,
        )
        order = self.sometimes(
            f" ORDER BY {self.pick('1', '1 DESC', f'a0 {self.how()}', f'count(*) {self.how()}', f'max(j) {self.how()}, 1')}",
            0.4,
        )
        limit = self.sometimes(f" LIMIT {self.random.randrange(1, 5)}", 0.3)
        return f"SELECT {', '.join(shown)}{self.tail()}{by}{having}{order}{limit}"

    def call(self) -> str:
        argument = self.pick(
            self.int, lambda: "x", lambda: "x", lambda: "m", lambda: "y", lambda: "m * 2", lambda: "y / 4"
        )()
        anything = self.pick(self.int, lambda: "x", self.string, lambda: "d", lambda: "m", lambda: "b")
        call = self.pick(
            "count(*)",
            f"count({anything()})",
            f"sum({argument})",
            f"avg({argument})",
            f"min({anything()})",
            f"max({anything()})",
        )
        call += self.sometimes(f" FILTER (WHERE {self.bool()})", 0.2)
        return self.pick(call, call, call, f"coalesce({call}, NULL)", f"({call}) IS NULL")

    def other(self) -> str:
        self.join = False
        return self.pick(
            "SELECT c FROM t UNION SELECT name FROM u",
            f"WITH w AS (SELECT {self.key()} AS g, count(*) AS n FROM t GROUP BY ALL) SELECT n, count(*) FROM w GROUP BY n",
            f"SELECT i FROM t WHERE {self.int()} IN (SELECT k FROM u)",
            "SELECT _id, row_number() OVER (PARTITION BY c ORDER BY j, _id) FROM t",
            f"SELECT count(DISTINCT {self.key()}) FROM t",
            "SELECT c, j, count(*) FROM t GROUP BY ROLLUP (c, j)",
            f"SELECT {self.key()} AS g, bool_or(b), bit_xor(i) FROM t GROUP BY ALL",
            "SELECT a.i, b.j FROM t a JOIN t b ON a.j = b.i",
            "SELECT (SELECT max(w) FROM u WHERE u.k = t.j) FROM t",
            "SELECT list_transform(l, lambda e: e + 1), s FROM t",
        )

    def tail(self) -> str:
        where = self.sometimes(f" WHERE {self.bool()}", 0.7)
        if self.join:
            return self.pick(" FROM t JOIN u ON t.j = u.k", " FROM t LEFT JOIN u ON t.j = u.k", " FROM u, t") + (
                where or " WHERE t.j = u.k"
            )
        return f" FROM t{where}"

    def order(self) -> str:
        keys = [
            self.pick(self.int, self.double, self.string, self.key, self.nested, lambda: "1")()
            for _ in range(self.pick(1, 1, 2))
        ]
        return ", ".join(f"{key} {self.how()}" for key in keys)

    def how(self) -> str:
        return self.pick("", "ASC", "DESC") + self.pick("", "", " NULLS FIRST", " NULLS LAST")

    def key(self) -> str:
        return self.pick(
            "c",
            "j",
            "s",
            "b",
            "i",
            "i % 2",
            "upper(c)",
            "d",
            "d::DATE",
            "date_trunc('month', d)",
            "o.a",
            "x",
            "m",
            "length(s)",
            "j IS NULL",
            "round(y / 100)",
            "coalesce(c, s)",
        )

    def nested(self) -> str:
        return self.pick("l", "o", "l[1]", "len(l)", "o.w", "q", "q->>'$.a'", "{'z': j}", "[j, i]", "5", "NULL", "$p")

    def int(self) -> str:
        return self.pick(
            "i",
            "j",
            "i + 1",
            "i * j",
            "-j",
            "abs(i)",
            "length(s)",
            "coalesce(i, 0)",
            "CASE WHEN b THEN i ELSE j END",
            "o.a",
            "len(l)",
            "TRY_CAST(s AS BIGINT)",
            "i // 2",
            "i & 3",
        )

    def double(self) -> str:
        return self.pick("x", "y", "x * 2", "x + j", "greatest(x, y)", "y / 4", "m", "i / j", "abs(x)")

    def string(self) -> str:
        return self.pick(
            "s",
            "c",
            "s || '!'",
            "upper(s)",
            "substr(s, 1, 2)",
            "coalesce(c, '-')",
            "o.w",
            "strftime(d, '%m')",
            "i::VARCHAR",
            "replace(s, 'a', 'ä')",
        )

    def bool(self, depth: int = 0) -> str:
        if depth < 2 and self.random.random() < 0.35:
            return f"({self.bool(depth + 1)} {self.pick('AND', 'OR')} {self.bool(depth + 1)})"
        compare = self.pick("=", "<>", "<", "<=", ">", ">=", "IS DISTINCT FROM", "IS NOT DISTINCT FROM")
        return self.pick(
            f"{self.int()} {compare} {self.random.randrange(-2, 5)}",
            f"j {compare} 1",
            f"x {compare} {self.pick('10', '100.25', '1e17', chr(39) + 'nan' + chr(39) + '::DOUBLE')}",
            f"s {compare} {self.pick(chr(39) + 'a' + chr(39), chr(39) + 'zoë' + chr(39))}",
            "c IN ('A', 'B')",
            "j BETWEEN 1 AND 2",
            f"s LIKE '{self.pick('%a%', 'Z_', 'É%')}'",
            f"NOT {self.pick('b', 'coalesce(b, false)')}",
            "b",
            f"{self.pick('d', 'l', 'o', 'x', 's')} IS {self.pick('', 'NOT ')}NULL",
            f"d {compare} '2026-02-01'::TIMESTAMPTZ",
            f"m {compare} 1.5",
            "o.a = 1",
            "y > $p",
        )

    def sometimes(self, text: str, share: float = 0.5) -> str:
        return text if self.random.random() < share else ""

    def pick(self, *choices: Any) -> Any:
        return self.random.choice(choices)
