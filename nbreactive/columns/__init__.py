"""store.duckdb: the history of every document and one typed table per user table, in a process of their own."""
