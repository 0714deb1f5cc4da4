"""Runs user code: ctx, database, determinism, worker processes and their pool."""
