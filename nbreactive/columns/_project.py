"""Documents into the columns of a typed table."""

# pyarrow and duckdb have no stubs, or partial ones: what comes out of them is unknown to the checker
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false, reportUnknownLambdaType=false

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import chain
from typing import Any

import pyarrow as pa

from nbreactive.columns.schema import CREATION_TIME, ID, REST, Layout
from nbreactive.values.arrow import Misfit, array
from nbreactive.values.columns import Kind, infer, join
from nbreactive.values.ids import encode_id
from nbreactive.values.json import encode_json

Doc = dict[str, Any]


def survey(docs: Collection[Doc]) -> Iterator[tuple[str, Kind]]:
    """Yield the fields that documents have, and of what kind their values are."""
    for field in dict.fromkeys(chain.from_iterable(docs)):
        if field not in (ID, CREATION_TIME):
            yield field, infer([doc.get(field) for doc in docs])


class Projection:
    """Documents as rows of a layout, which they may have widened."""

    def __init__(self, layout: Layout, docs: Mapping[bytes, Doc]) -> None:
        self.layout = layout
        self.count = len(docs)
        self._docs = list(docs.values())
        self._arrays: dict[str, pa.Array] = {ID: self.ids(docs)}
        self._rest: dict[int, Doc] = {}

    def ids(self, internal: Iterable[bytes]) -> pa.Array:
        """Return ids as the table shows them."""
        return pa.array([encode_id(self.layout.number, id) for id in internal], pa.string())

    def batch(self) -> pa.Table:
        """Return the rows."""
        columns = dict(self._arrays)
        if self._rest:
            texts = [encode_json(self._rest[row]).decode() if row in self._rest else None for row in range(self.count)]
            columns[REST] = pa.array(texts, pa.string())
        return pa.table(columns)

    def fill(self) -> None:
        """Convert every column; new fields make new columns, other values wider ones."""
        for field in dict.fromkeys(chain.from_iterable(self._docs)):
            column = self.layout.find(field)
            if column is None:
                values = [doc.get(field) for doc in self._docs]
                self.layout = self.layout.with_column(field, infer(values))
                column = self.layout.find(field)
                if column is None:
                    self._put_aside(field, [row for row, doc in enumerate(self._docs) if field in doc])
        for column in self.layout.columns[1:]:
            values = [doc.get(column.field) for doc in self._docs]
            try:
                converted = array(column.kind, values)
            except Misfit:
                if column.declared:
                    converted = self._fitting(column.field, column.kind, values)
                else:
                    wider = join(column.kind, infer(values))
                    self.layout = self.layout.with_kind(column.field, wider)
                    converted = array(wider, values)
            self._arrays[column.name] = converted

    def _fitting(self, field: str, kind: Kind, values: list[Any]) -> pa.Array:
        """Convert what fits a declared kind; the rest goes to ``_rest``."""
        misfits: list[int] = []
        for row, value in enumerate(values):
            try:
                array(kind, [value])
            except Misfit:
                misfits.append(row)
                values[row] = None
        self._put_aside(field, misfits)
        return array(kind, values)

    def _put_aside(self, field: str, rows: Iterable[int]) -> None:
        for row in rows:
            self._rest.setdefault(row, {})[field] = self._docs[row][field]
        self.layout = self.layout.with_rest()


def project(layout: Layout, docs: Mapping[bytes, Doc]) -> Projection:
    """Return documents (by internal id) as rows of ``layout``, or of a wider one."""
    projection = Projection(layout, docs)
    if docs:
        projection.fill()
    return projection
