"""Results of SQL that follow the tables: kept up to date from the rows that changed, or run again where that is as good."""

from nbreactive.columns.live.evaluate import Scratch
from nbreactive.columns.live.maintained import TableChange
from nbreactive.columns.live.statement import Explanation, Live

__all__ = ["Explanation", "Live", "Scratch", "TableChange"]
