"""The rows of a live query: as frames of all kinds, and to iterate over."""

# pandas, polars and pyarrow have no stubs, or partial ones
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownParameterType=false

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from nbreactive.client import frames

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl
    import pyarrow as pa


class Rows:
    """What everything with a ``value`` and an ``error`` has."""

    value: Any
    error: Any
    columns: Any

    def _rows(self) -> Any:
        if self.error is not None:
            raise self.error
        return self.value

    @property
    def declared(self) -> Mapping[str, Any] | None:
        """The validator of its results, where one is known: it says what are moments."""
        return None

    @property
    def moments(self) -> frozenset[str]:
        """Columns of moments: numbers in ``value``, times in frames and views."""
        return frames.moments_of(self.declared)

    def _columns(self) -> frames.Columns:
        return self.declared if self.moments else self.columns

    def df(self) -> pd.DataFrame:
        """Return the rows as a pandas DataFrame."""
        return frames.to_pandas(self._rows(), self._columns())

    def pl(self) -> pl.DataFrame:
        """Return the rows as a polars DataFrame."""
        return frames.to_polars(self._rows(), self._columns())

    def arrow(self) -> pa.Table:
        """Return the rows as a pyarrow Table."""
        return frames.to_arrow(self._rows(), self._columns())

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return frames.to_stream(self._rows(), self._columns(), requested_schema)

    def __len__(self) -> int:
        return len(self._rows() or ())

    def __iter__(self) -> Iterator[Any]:
        return iter(self._rows() or ())

    def __getitem__(self, at: Any) -> Any:
        return self._rows()[at]
