"""What tests of the official clients begin with: the functions of ``functions.py``, served, and a proxy to look through."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conformance.functions import MODULE
from tests.conformance.proxy import Proxy
from tests.served import Served


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One for all tests of a module; those that need another have a fixture of the same name."""
    with Served(tmp_path_factory.mktemp("conform"), {"conform": MODULE}) as running:
        yield running


@pytest.fixture
def proxy(backend: Served) -> Iterator[Proxy]:
    """What a client is given as the address of the backend."""
    with Proxy(backend.port) as running:
        yield running
