"""Testing server functions: a whole backend in the test's own process, fresh for every test.

::

    from nbreactive import api
    from nbreactive.testing import Backend

    def test_send():
        with Backend("reactive") as t:
            t.mutation(api.chat.send, author="me", body="hi")
            assert [m["body"] for m in t.query(api.chat.list_messages)] == ["hi"]

With pytest, ``from nbreactive.testing import backend, functions_folder`` in ``conftest.py`` brings the same as a fixture.
Everything that decides what functions do is that of a real backend: transactions, checks of arguments and documents,
indexes, the scheduler, live queries. What is not: nothing is written to disk, nothing is killed, and time stands still
until the test moves it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nbreactive.testing.fetching import Fetched
from nbreactive.testing.kit import Backend, Caller
from nbreactive.testing.live import Live

if TYPE_CHECKING:
    from nbreactive.testing.fixtures import backend, functions_folder

__all__ = ["Backend", "Caller", "Fetched", "Live", "backend", "functions_folder"]


def __getattr__(name: str) -> Any:
    if name in ("backend", "functions_folder"):  # these need pytest
        from nbreactive.testing import fixtures

        return getattr(fixtures, name)
    raise AttributeError(f"module 'nbreactive.testing' has no attribute {name!r}")
