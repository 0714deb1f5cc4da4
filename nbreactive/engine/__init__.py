"""The engine: log, row index, committer, read sets, subscriptions. Pure asyncio: no tornado, no Jupyter, no DuckDB."""
