"""Fixtures for pytest: import them in ``conftest.py``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from nbreactive.testing.kit import Backend


@pytest.fixture
def functions_folder(pytestconfig: pytest.Config) -> Path:
    """The folder whose functions are tested: ``reactive`` beside pytest's configuration; override it for another."""
    return pytestconfig.rootpath / "reactive"


@pytest.fixture
def backend(functions_folder: Path) -> Iterator[Backend]:
    """A backend of the test's own, with the functions of ``functions_folder`` and no data."""
    with Backend(functions_folder) as running:
        yield running
