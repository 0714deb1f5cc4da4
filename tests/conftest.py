"""What every test has: folders of its own for Jupyter, so that a test never sees or changes a person's settings."""

from __future__ import annotations

import asyncio
import os
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

# pytest's plugin of hypothesis imports it at the very end of a run otherwise, so deep in the stack that Python 3.11
# cannot parse its modules any more.
import hypothesis
import pytest

# Machines that do much at once are slow now and then: that is no failure.
hypothesis.settings.register_profile("patient", deadline=None)
hypothesis.settings.load_profile("patient")

if sys.platform == "win32":
    # Engines within tests watch sockets, which asyncio's own choice there cannot (nbreactive/_loops.py).
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        asyncio.set_event_loop_policy(asyncio.WindowsSelectorEventLoopPolicy())

_HOMES = (
    "JUPYTER_CONFIG_DIR",
    "JUPYTER_DATA_DIR",
    "JUPYTER_RUNTIME_DIR",
    "JUPYTERLAB_SETTINGS_DIR",
    "JUPYTERLAB_WORKSPACES_DIR",
    "IPYTHONDIR",
)


@pytest.fixture(scope="session", autouse=True)
def _own_folders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    base = tmp_path_factory.mktemp("jupyter")
    before = dict(os.environ)
    for name in _HOMES:
        os.environ[name] = str(base / name.lower())
    # A test run from inside a notebook must not find that notebook's server.
    for name in list(os.environ):
        if name.startswith(("JPY_", "JUPYTERHUB_", "NBREACTIVE_")) and name != "NBREACTIVE_CHROMIUM":
            del os.environ[name]
    os.environ["JUPYTER_PLATFORM_DIRS"] = "1"
    yield base
    os.environ.clear()
    os.environ.update(before)
