"""What a user may set: ``%config NBReactive.snapshot_rows = 5``."""

from __future__ import annotations

import traitlets
from traitlets.config import Configurable


class NBReactive(Configurable):
    """Settings of nbreactive in this notebook."""

    snapshot_rows = traitlets.Int(
        20, min=0, max=1000, help="Rows of a live result that are saved with the notebook."
    ).tag(config=True)
    view_rows = traitlets.Int(1000, min=1, max=100_000, help="Items that a live list shows at most.").tag(config=True)
    table_rows = traitlets.Int(100_000, min=1, max=1_000_000, help="Rows that a live table has at most.").tag(
        config=True
    )
    updates_per_second = traitlets.Float(30.0, min=0.1, max=60.0, help="How often a view is painted at most.").tag(
        config=True
    )


settings = NBReactive()
