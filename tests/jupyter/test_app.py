"""The extension as Jupyter sees it, and the parts that need no server."""

from __future__ import annotations

import subprocess
import sys
import warnings
from pathlib import Path

import pytest
from jupyter_server.serverapp import ServerApp
from jupyter_server.utils import JupyterServerAuthWarning

from nbreactive.jupyter.runtime import RUNTIME_KEY


@pytest.fixture
def serverapp(tmp_path: Path) -> ServerApp:
    ServerApp.clear_instance()
    app = ServerApp.instance(
        root_dir=str(tmp_path),
        runtime_dir=str(tmp_path),
        allow_root=True,
        allow_unauthenticated_access=False,
        jpserver_extensions={"nbreactive": True},
        reraise_server_extension_failures=True,
    )
    yield app
    ServerApp.clear_instance()


def test_every_door_asks_who_is_there(serverapp: ServerApp) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", JupyterServerAuthWarning)
        serverapp.initialize(argv=[], find_extensions=False, new_httpserver=False)
    ours = [str(w.message) for w in caught if w.category is JupyterServerAuthWarning and "nbreactive" in str(w.message)]
    assert ours == []
    runtime = serverapp.web_app.settings[RUNTIME_KEY]
    assert (runtime.supervisor.state, runtime.shared_with(), runtime.connections) == ("idle", "nobody", 0)
    app = serverapp.extension_manager.extension_apps["nbreactive"].pop()
    assert app.current_activity() is None
    with runtime.connected(object()):
        assert app.current_activity() == {"connections": 1}


def test_the_server_side_loads_no_engine_and_no_widgets() -> None:
    heavy = ["duckdb", "lmdb", "ipywidgets", "anywidget", "pyarrow", "pandas", "nbreactive.engine", "nbreactive.server"]
    code = f"import nbreactive.jupyter.app, sys; print([m for m in {heavy} if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_one_version_everywhere() -> None:
    import json

    import nbreactive

    package = json.loads((Path(__file__).parents[2] / "labextension" / "package.json").read_text())
    assert package["version"] == nbreactive.__version__
