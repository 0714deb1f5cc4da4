"""The tables of TPC-H by its rules as far as its queries look, from one seed; and its 22 queries with their usual parameters.

Names and comments are shorter than the standard's, and dates, prices, keys and the few texts that are searched for are as
it says, so that every query finds something.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa

NATIONS = [
    *[("ALGERIA", 0), ("ARGENTINA", 1), ("BRAZIL", 1), ("CANADA", 1), ("EGYPT", 4), ("ETHIOPIA", 0), ("FRANCE", 3)],
    *[("GERMANY", 3), ("INDIA", 2), ("INDONESIA", 2), ("IRAN", 4), ("IRAQ", 4), ("JAPAN", 2), ("JORDAN", 4)],
    *[("KENYA", 0), ("MOROCCO", 0), ("MOZAMBIQUE", 0), ("PERU", 1), ("CHINA", 2), ("ROMANIA", 3), ("SAUDI ARABIA", 4)],
    *[("VIETNAM", 2), ("RUSSIA", 3), ("UNITED KINGDOM", 3), ("UNITED STATES", 1)],
]
REGIONS = ["AFRICA", "AMERICA", "ASIA", "EUROPE", "MIDDLE EAST"]
COLORS = [
    "almond",
    "antique",
    "azure",
    "beige",
    "black",
    "blue",
    "brown",
    "chocolate",
    "forest",
    "frosted",
    "green",
    "ivory",
    "khaki",
    "lemon",
    "linen",
]
SIZES = ["STANDARD", "SMALL", "MEDIUM", "LARGE", "ECONOMY", "PROMO"]
FINISHES = ["ANODIZED", "BURNISHED", "PLATED", "POLISHED", "BRUSHED"]
METALS = ["TIN", "NICKEL", "BRASS", "STEEL", "COPPER"]
BOXES = [
    f"{one} {two}"
    for one in ["SM", "LG", "MED", "JUMBO", "WRAP"]
    for two in ["CASE", "BOX", "BAG", "JAR", "PKG", "PACK", "CAN", "DRUM"]
]
SEGMENTS = ["AUTOMOBILE", "BUILDING", "FURNITURE", "MACHINERY", "HOUSEHOLD"]
PRIORITIES = ["1-URGENT", "2-HIGH", "3-MEDIUM", "4-NOT SPECIFIED", "5-LOW"]
INSTRUCTIONS = ["DELIVER IN PERSON", "COLLECT COD", "NONE", "TAKE BACK RETURN"]
MODES = ["REG AIR", "AIR", "RAIL", "SHIP", "TRUCK", "MAIL", "FOB"]

KEYS = {
    "region": "r_regionkey",
    "nation": "n_nationkey",
    "supplier": "s_suppkey",
    "part": "p_partkey",
    "partsupp": "ps_partkey, ps_suppkey",
    "customer": "c_custkey",
    "orders": "o_orderkey",
    "lineitem": "l_orderkey, l_linenumber",
}

_MONEY = ("acctbal", "retailprice", "supplycost", "totalprice", "quantity", "extendedprice", "discount", "tax")
_FIRST, _LAST = (int(np.datetime64(day).astype(int)) for day in ("1992-01-01", "1998-08-02"))
_CURRENT = int(np.datetime64("1995-06-17").astype(int))


class Generator:
    """Rows of the tables.

    Parameters
    ----------
    scale
        1 is 6,000,000 rows of lineitem.
    seed
        The same rows each time.
    """

    def __init__(self, scale: float, seed: int = 22) -> None:
        self.random = np.random.default_rng(seed)
        self.suppliers = max(int(10_000 * scale), 20)
        self.parts = max(int(200_000 * scale), 50)
        self.customers = max(int(150_000 * scale), 50)
        self.orders = max(int(1_500_000 * scale), 100)

    def tables(self) -> Iterator[tuple[str, pa.Table]]:
        """Yield all tables, with their names."""
        yield "region", self._table(r_regionkey=range(5), r_name=REGIONS, r_comment=["c"] * 5)
        names, regions = zip(*NATIONS, strict=True)
        yield "nation", self._table(n_nationkey=range(25), n_name=names, n_regionkey=regions, n_comment=["c"] * 25)
        yield "supplier", self.supplier(np.arange(1, self.suppliers + 1))
        yield "part", self.part(np.arange(1, self.parts + 1))
        yield "partsupp", self.partsupp(np.arange(1, self.parts + 1))
        yield "customer", self.customer(np.arange(1, self.customers + 1))
        orders, lines = self.order(np.arange(1, self.orders + 1))
        yield "orders", orders
        yield "lineitem", lines

    def supplier(self, keys: Any) -> pa.Table:
        nations = self._int(0, 24, keys)
        complaints = [" Customer stuff Complaints " if one < 1 else " good " for one in self._int(0, 19, keys)]
        return self._table(
            s_suppkey=keys,
            s_name=[f"Supplier#{key:09}" for key in keys],
            s_address=[f"{key} Street" for key in keys],
            s_nationkey=nations,
            s_phone=self._phones(nations),
            s_acctbal=self._int(-99_999, 999_999, keys),
            s_comment=complaints,
        )

    def part(self, keys: Any) -> pa.Table:
        makers = self._int(1, 5, keys)
        words = [self._of(COLORS, keys) for _ in range(2)]
        types = zip(self._of(SIZES, keys), self._of(FINISHES, keys), self._of(METALS, keys), strict=True)
        return self._table(
            p_partkey=keys,
            p_name=[" ".join(pair) for pair in zip(*words, strict=True)],
            p_mfgr=[f"Manufacturer#{maker}" for maker in makers],
            p_brand=[f"Brand#{maker}{more}" for maker, more in zip(makers, self._int(1, 5, keys), strict=True)],
            p_type=[" ".join(parts) for parts in types],
            p_size=self._int(1, 50, keys),
            p_container=self._of(BOXES, keys),
            p_retailprice=self._price(keys),
            p_comment=["c"] * len(keys),
        )

    def partsupp(self, keys: Any) -> pa.Table:
        parts = np.repeat(keys, 4)
        return self._table(
            ps_partkey=parts,
            ps_suppkey=self._suppliers(parts, np.tile(np.arange(4), len(keys))),
            ps_availqty=self._int(1, 9_999, parts),
            ps_supplycost=self._int(100, 100_000, parts),
            ps_comment=["c"] * len(parts),
        )

    def customer(self, keys: Any) -> pa.Table:
        nations = self._int(0, 24, keys)
        return self._table(
            c_custkey=keys,
            c_name=[f"Customer#{key:09}" for key in keys],
            c_address=[f"{key} Road" for key in keys],
            c_nationkey=nations,
            c_phone=self._phones(nations),
            c_acctbal=self._int(-99_999, 999_999, keys),
            c_mktsegment=self._of(SEGMENTS, keys),
            c_comment=["c"] * len(keys),
        )

    def order(self, keys: Any) -> tuple[pa.Table, pa.Table]:
        """Return orders and their lines."""
        dates = self._int(_FIRST, _LAST - 151, keys)
        counts = self._int(1, 7, keys)
        order, day = np.repeat(keys, counts), np.repeat(dates, counts)
        parts, quantities = self._int(1, self.parts, order), self._int(1, 50, order)
        shipped = day + self._int(1, 121, order)
        received = shipped + self._int(1, 30, order)
        prices = quantities * self._price(parts)
        open_ = shipped > _CURRENT
        customers = self._int(1, self.customers, keys)
        starts = np.r_[0, np.cumsum(counts)[:-1]]
        shares = np.add.reduceat(open_.astype(int), starts) / counts
        flags = np.where(received <= _CURRENT, np.where(self._int(0, 1, order) == 0, "R", "A"), "N")
        orders = self._table(
            o_orderkey=keys,
            o_custkey=np.where(customers % 3 == 0, np.maximum(customers - 1, 1), customers),
            o_orderstatus=np.where(shares == 1, "O", np.where(shares == 0, "F", "P")),
            o_totalprice=np.add.reduceat(prices, starts),
            o_orderdate=dates,
            o_orderpriority=self._of(PRIORITIES, keys),
            o_clerk=[f"Clerk#{one:09}" for one in self._int(1, 1000, keys)],
            o_shippriority=[0] * len(keys),
            o_comment=[" special big requests " if one < 1 else " c " for one in self._int(0, 9, keys)],
        )
        lines = self._table(
            l_orderkey=order,
            l_partkey=parts,
            l_suppkey=self._suppliers(parts, self._int(0, 3, order)),
            l_linenumber=np.arange(len(order)) - np.repeat(starts, counts) + 1,
            l_quantity=quantities * 100,
            l_extendedprice=prices,
            l_discount=self._int(0, 10, order),
            l_tax=self._int(0, 8, order),
            l_returnflag=flags,
            l_linestatus=np.where(open_, "O", "F"),
            l_shipdate=shipped,
            l_commitdate=day + self._int(30, 90, order),
            l_receiptdate=received,
            l_shipinstruct=self._of(INSTRUCTIONS, order),
            l_shipmode=self._of(MODES, order),
            l_comment=["c"] * len(order),
        )
        return orders, lines

    def _table(self, **columns: Any) -> pa.Table:
        arrays = {name: _array(name, values) for name, values in columns.items()}
        count = len(next(iter(arrays.values())))
        first = next(key.split(", ") for key in KEYS.values() if key.split(", ")[0] == next(iter(columns)))
        ids = ["-".join(map(str, key)) for key in zip(*(arrays[name].to_pylist() for name in first), strict=True)]
        return pa.table({"_id": pa.array(ids, pa.string()), "_creationTime": np.arange(count, dtype=float), **arrays})

    def _int(self, low: int, high: int, like: Sequence[int]) -> Any:
        return self.random.integers(low, high + 1, len(like))

    def _of(self, words: list[str], like: Sequence[int]) -> Any:
        return np.array(words)[self._int(0, len(words) - 1, like)]

    def _price(self, parts: Any) -> Any:
        return 90_000 + (parts // 10) % 20_001 + 100 * (parts % 1_000)

    def _suppliers(self, parts: Any, which: Any) -> Any:
        return (parts + which * (self.suppliers // 4 + (parts - 1) // self.suppliers)) % self.suppliers + 1

    def _phones(self, nations: Any) -> list[str]:
        return [f"{nation + 10}-{one}" for nation, one in zip(nations, self._int(100, 999, nations), strict=True)]


def _array(name: str, values: Any) -> pa.Array:
    if name.endswith("date"):
        return pa.array(np.asarray(values), pa.int32()).cast(pa.date32())
    if name.endswith(_MONEY):  # hundredths
        return pa.array([Decimal(value).scaleb(-2) for value in np.asarray(values).tolist()], pa.decimal128(15, 2))
    values = values.tolist() if isinstance(values, np.ndarray) else list(values)
    return pa.array(values)


QUERIES = {
    1: """SELECT l_returnflag, l_linestatus, sum(l_quantity) AS sum_qty, sum(l_extendedprice) AS sum_base_price,
            sum(l_extendedprice * (1 - l_discount)) AS sum_disc_price,
            sum(l_extendedprice * (1 - l_discount) * (1 + l_tax)) AS sum_charge, avg(l_quantity) AS avg_qty,
            avg(l_extendedprice) AS avg_price, avg(l_discount) AS avg_disc, count(*) AS count_order
          FROM lineitem WHERE l_shipdate <= CAST('1998-09-02' AS date)
          GROUP BY l_returnflag, l_linestatus ORDER BY l_returnflag, l_linestatus""",
    2: """SELECT s_acctbal, s_name, n_name, p_partkey, p_mfgr, s_address, s_phone, s_comment
          FROM part, supplier, partsupp, nation, region
          WHERE p_partkey = ps_partkey AND s_suppkey = ps_suppkey AND p_size = 15 AND p_type LIKE '%BRASS'
            AND s_nationkey = n_nationkey AND n_regionkey = r_regionkey AND r_name = 'EUROPE'
            AND ps_supplycost = (SELECT min(ps_supplycost) FROM partsupp, supplier, nation, region
              WHERE p_partkey = ps_partkey AND s_suppkey = ps_suppkey AND s_nationkey = n_nationkey
                AND n_regionkey = r_regionkey AND r_name = 'EUROPE')
          ORDER BY s_acctbal DESC, n_name, s_name, p_partkey LIMIT 100""",
    3: """SELECT l_orderkey, sum(l_extendedprice * (1 - l_discount)) AS revenue, o_orderdate, o_shippriority
          FROM customer, orders, lineitem
          WHERE c_mktsegment = 'BUILDING' AND c_custkey = o_custkey AND l_orderkey = o_orderkey
            AND o_orderdate < CAST('1995-03-15' AS date) AND l_shipdate > CAST('1995-03-15' AS date)
          GROUP BY l_orderkey, o_orderdate, o_shippriority ORDER BY revenue DESC, o_orderdate LIMIT 10""",
    4: """SELECT o_orderpriority, count(*) AS order_count FROM orders
          WHERE o_orderdate >= CAST('1993-07-01' AS date) AND o_orderdate < CAST('1993-10-01' AS date)
            AND EXISTS (SELECT * FROM lineitem WHERE l_orderkey = o_orderkey AND l_commitdate < l_receiptdate)
          GROUP BY o_orderpriority ORDER BY o_orderpriority""",
    5: """SELECT n_name, sum(l_extendedprice * (1 - l_discount)) AS revenue
          FROM customer, orders, lineitem, supplier, nation, region
          WHERE c_custkey = o_custkey AND l_orderkey = o_orderkey AND l_suppkey = s_suppkey
            AND c_nationkey = s_nationkey AND s_nationkey = n_nationkey AND n_regionkey = r_regionkey
            AND r_name = 'ASIA' AND o_orderdate >= CAST('1994-01-01' AS date)
            AND o_orderdate < CAST('1995-01-01' AS date)
          GROUP BY n_name ORDER BY revenue DESC""",
    6: """SELECT sum(l_extendedprice * l_discount) AS revenue FROM lineitem
          WHERE l_shipdate >= CAST('1994-01-01' AS date) AND l_shipdate < CAST('1995-01-01' AS date)
            AND l_discount BETWEEN 0.05 AND 0.07 AND l_quantity < 24""",
    7: """SELECT supp_nation, cust_nation, l_year, sum(volume) AS revenue
          FROM (SELECT n1.n_name AS supp_nation, n2.n_name AS cust_nation, extract(year FROM l_shipdate) AS l_year,
              l_extendedprice * (1 - l_discount) AS volume
            FROM supplier, lineitem, orders, customer, nation n1, nation n2
            WHERE s_suppkey = l_suppkey AND o_orderkey = l_orderkey AND c_custkey = o_custkey
              AND s_nationkey = n1.n_nationkey AND c_nationkey = n2.n_nationkey
              AND ((n1.n_name = 'FRANCE' AND n2.n_name = 'GERMANY') OR (n1.n_name = 'GERMANY' AND n2.n_name = 'FRANCE'))
              AND l_shipdate BETWEEN CAST('1995-01-01' AS date) AND CAST('1996-12-31' AS date)) AS shipping
          GROUP BY supp_nation, cust_nation, l_year ORDER BY supp_nation, cust_nation, l_year""",
    8: """SELECT o_year, sum(CASE WHEN nation = 'BRAZIL' THEN volume ELSE 0 END) / sum(volume) AS mkt_share
          FROM (SELECT extract(year FROM o_orderdate) AS o_year, l_extendedprice * (1 - l_discount) AS volume,
              n2.n_name AS nation
            FROM part, supplier, lineitem, orders, customer, nation n1, nation n2, region
            WHERE p_partkey = l_partkey AND s_suppkey = l_suppkey AND l_orderkey = o_orderkey
              AND o_custkey = c_custkey AND c_nationkey = n1.n_nationkey AND n1.n_regionkey = r_regionkey
              AND r_name = 'AMERICA' AND s_nationkey = n2.n_nationkey
              AND o_orderdate BETWEEN CAST('1995-01-01' AS date) AND CAST('1996-12-31' AS date)
              AND p_type = 'ECONOMY ANODIZED STEEL') AS all_nations
          GROUP BY o_year ORDER BY o_year""",
    9: """SELECT nation, o_year, sum(amount) AS sum_profit
          FROM (SELECT n_name AS nation, extract(year FROM o_orderdate) AS o_year,
              l_extendedprice * (1 - l_discount) - ps_supplycost * l_quantity AS amount
            FROM part, supplier, lineitem, partsupp, orders, nation
            WHERE s_suppkey = l_suppkey AND ps_suppkey = l_suppkey AND ps_partkey = l_partkey
              AND p_partkey = l_partkey AND o_orderkey = l_orderkey AND s_nationkey = n_nationkey
              AND p_name LIKE '%green%') AS profit
          GROUP BY nation, o_year ORDER BY nation, o_year DESC""",
    10: """SELECT c_custkey, c_name, sum(l_extendedprice * (1 - l_discount)) AS revenue, c_acctbal, n_name, c_address,
             c_phone, c_comment
           FROM customer, orders, lineitem, nation
           WHERE c_custkey = o_custkey AND l_orderkey = o_orderkey AND o_orderdate >= CAST('1993-10-01' AS date)
             AND o_orderdate < CAST('1994-01-01' AS date) AND l_returnflag = 'R' AND c_nationkey = n_nationkey
           GROUP BY c_custkey, c_name, c_acctbal, c_phone, n_name, c_address, c_comment
           ORDER BY revenue DESC LIMIT 20""",
    11: """SELECT ps_partkey, sum(ps_supplycost * ps_availqty) AS value FROM partsupp, supplier, nation
           WHERE ps_suppkey = s_suppkey AND s_nationkey = n_nationkey AND n_name = 'GERMANY'
           GROUP BY ps_partkey HAVING sum(ps_supplycost * ps_availqty) > (
             SELECT sum(ps_supplycost * ps_availqty) * 0.0001 FROM partsupp, supplier, nation
             WHERE ps_suppkey = s_suppkey AND s_nationkey = n_nationkey AND n_name = 'GERMANY')
           ORDER BY value DESC""",
    12: """SELECT l_shipmode,
             sum(CASE WHEN o_orderpriority = '1-URGENT' OR o_orderpriority = '2-HIGH' THEN 1 ELSE 0 END) AS high_line_count,
             sum(CASE WHEN o_orderpriority <> '1-URGENT' AND o_orderpriority <> '2-HIGH' THEN 1 ELSE 0 END) AS low_line_count
           FROM orders, lineitem
           WHERE o_orderkey = l_orderkey AND l_shipmode IN ('MAIL', 'SHIP') AND l_commitdate < l_receiptdate
             AND l_shipdate < l_commitdate AND l_receiptdate >= CAST('1994-01-01' AS date)
             AND l_receiptdate < CAST('1995-01-01' AS date)
           GROUP BY l_shipmode ORDER BY l_shipmode""",
    13: """SELECT c_count, count(*) AS custdist
           FROM (SELECT c_custkey, count(o_orderkey) FROM customer
             LEFT OUTER JOIN orders ON c_custkey = o_custkey AND o_comment NOT LIKE '%special%requests%'
             GROUP BY c_custkey) AS c_orders (c_custkey, c_count)
           GROUP BY c_count ORDER BY custdist DESC, c_count DESC""",
    14: """SELECT 100.00 * sum(CASE WHEN p_type LIKE 'PROMO%' THEN l_extendedprice * (1 - l_discount) ELSE 0 END)
             / sum(l_extendedprice * (1 - l_discount)) AS promo_revenue
           FROM lineitem, part WHERE l_partkey = p_partkey AND l_shipdate >= date '1995-09-01'
             AND l_shipdate < CAST('1995-10-01' AS date)""",
    15: """WITH revenue AS (SELECT l_suppkey AS supplier_no, sum(l_extendedprice * (1 - l_discount)) AS total_revenue
             FROM lineitem WHERE l_shipdate >= CAST('1996-01-01' AS date) AND l_shipdate < CAST('1996-04-01' AS date)
             GROUP BY supplier_no)
           SELECT s_suppkey, s_name, s_address, s_phone, total_revenue FROM supplier, revenue
           WHERE s_suppkey = supplier_no AND total_revenue = (SELECT max(total_revenue) FROM revenue)
           ORDER BY s_suppkey""",
    16: """SELECT p_brand, p_type, p_size, count(DISTINCT ps_suppkey) AS supplier_cnt FROM partsupp, part
           WHERE p_partkey = ps_partkey AND p_brand <> 'Brand#45' AND p_type NOT LIKE 'MEDIUM POLISHED%'
             AND p_size IN (49, 14, 23, 45, 19, 3, 36, 9)
             AND ps_suppkey NOT IN (SELECT s_suppkey FROM supplier WHERE s_comment LIKE '%Customer%Complaints%')
           GROUP BY p_brand, p_type, p_size ORDER BY supplier_cnt DESC, p_brand, p_type, p_size""",
    17: """SELECT sum(l_extendedprice) / 7.0 AS avg_yearly FROM lineitem, part
           WHERE p_partkey = l_partkey AND p_brand = 'Brand#23' AND p_container = 'MED BOX'
             AND l_quantity < (SELECT 0.2 * avg(l_quantity) FROM lineitem WHERE l_partkey = p_partkey)""",
    18: """SELECT c_name, c_custkey, o_orderkey, o_orderdate, o_totalprice, sum(l_quantity)
           FROM customer, orders, lineitem
           WHERE o_orderkey IN (SELECT l_orderkey FROM lineitem GROUP BY l_orderkey HAVING sum(l_quantity) > 250)
             AND c_custkey = o_custkey AND o_orderkey = l_orderkey
           GROUP BY c_name, c_custkey, o_orderkey, o_orderdate, o_totalprice
           ORDER BY o_totalprice DESC, o_orderdate LIMIT 100""",
    19: """SELECT sum(l_extendedprice * (1 - l_discount)) AS revenue FROM lineitem, part
           WHERE (p_partkey = l_partkey AND p_brand = 'Brand#12'
               AND p_container IN ('SM CASE', 'SM BOX', 'SM PACK', 'SM PKG') AND l_quantity >= 1 AND l_quantity <= 11
               AND p_size BETWEEN 1 AND 5 AND l_shipmode IN ('AIR', 'AIR REG')
               AND l_shipinstruct = 'DELIVER IN PERSON')
             OR (p_partkey = l_partkey AND p_brand = 'Brand#23'
               AND p_container IN ('MED BAG', 'MED BOX', 'MED PKG', 'MED PACK') AND l_quantity >= 10
               AND l_quantity <= 20 AND p_size BETWEEN 1 AND 10 AND l_shipmode IN ('AIR', 'AIR REG')
               AND l_shipinstruct = 'DELIVER IN PERSON')
             OR (p_partkey = l_partkey AND p_brand = 'Brand#34'
               AND p_container IN ('LG CASE', 'LG BOX', 'LG PACK', 'LG PKG') AND l_quantity >= 20
               AND l_quantity <= 30 AND p_size BETWEEN 1 AND 15 AND l_shipmode IN ('AIR', 'AIR REG')
               AND l_shipinstruct = 'DELIVER IN PERSON')""",
    20: """SELECT s_name, s_address FROM supplier, nation
           WHERE s_suppkey IN (SELECT ps_suppkey FROM partsupp
               WHERE ps_partkey IN (SELECT p_partkey FROM part WHERE p_name LIKE 'forest%')
                 AND ps_availqty > (SELECT 0.5 * sum(l_quantity) FROM lineitem
                   WHERE l_partkey = ps_partkey AND l_suppkey = ps_suppkey
                     AND l_shipdate >= CAST('1994-01-01' AS date) AND l_shipdate < CAST('1995-01-01' AS date)))
             AND s_nationkey = n_nationkey AND n_name = 'CANADA' ORDER BY s_name""",
    21: """SELECT s_name, count(*) AS numwait FROM supplier, lineitem l1, orders, nation
           WHERE s_suppkey = l1.l_suppkey AND o_orderkey = l1.l_orderkey AND o_orderstatus = 'F'
             AND l1.l_receiptdate > l1.l_commitdate
             AND EXISTS (SELECT * FROM lineitem l2
               WHERE l2.l_orderkey = l1.l_orderkey AND l2.l_suppkey <> l1.l_suppkey)
             AND NOT EXISTS (SELECT * FROM lineitem l3 WHERE l3.l_orderkey = l1.l_orderkey
               AND l3.l_suppkey <> l1.l_suppkey AND l3.l_receiptdate > l3.l_commitdate)
             AND s_nationkey = n_nationkey AND n_name = 'SAUDI ARABIA'
           GROUP BY s_name ORDER BY numwait DESC, s_name LIMIT 100""",
    22: """SELECT cntrycode, count(*) AS numcust, sum(c_acctbal) AS totacctbal
           FROM (SELECT substring(c_phone FROM 1 FOR 2) AS cntrycode, c_acctbal FROM customer
             WHERE substring(c_phone FROM 1 FOR 2) IN ('13', '31', '23', '29', '30', '18', '17')
               AND c_acctbal > (SELECT avg(c_acctbal) FROM customer WHERE c_acctbal > 0.00
                 AND substring(c_phone FROM 1 FOR 2) IN ('13', '31', '23', '29', '30', '18', '17'))
               AND NOT EXISTS (SELECT * FROM orders WHERE o_custkey = c_custkey)) AS custsale
           GROUP BY cntrycode ORDER BY cntrycode""",
}
MAINTAINED = frozenset({1, 3, 5, 6, 10, 12, 14, 19})
"""Those that are kept up to date; the others are run again."""
