"""What importing does not import: kernels do without the server's half, and servers without the notebook's."""

from __future__ import annotations

import subprocess
import sys

import pytest

import nbreactive

HEAVY = {
    "IPython", "anywidget", "duckdb", "ipywidgets", "jupyter_server", "lmdb", "numpy", "pandas", "polars", "pyarrow",
    "tornado", "traitlets",
}  # fmt: skip


def imported_by(code: str) -> set[str]:
    script = f"{code}\nimport sys; print(*sorted({{name.partition('.')[0] for name in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize(
    "code",
    [
        "import nbreactive",
        "import nbreactive; dir(nbreactive); nbreactive.__version__",
        "import nbreactive.values, nbreactive.functions",
        "from nbreactive import api, internal, query, mutation, v, Id, Int64, UNSET, AppError, define_schema, define_table",
    ],
)
def test_light(code):
    assert not imported_by(code) & HEAVY


def test_the_bare_package_imports_nothing():
    assert "msgspec" not in imported_by("import nbreactive")


def test_exports():
    assert sorted(nbreactive.__all__) == sorted(set(nbreactive.__all__))
    assert set(nbreactive.__all__) <= set(dir(nbreactive))
    for name in nbreactive.__all__:
        assert getattr(nbreactive, name) is not None
    with pytest.raises(AttributeError, match="module 'nbreactive' has no attribute 'quary'"):
        _ = nbreactive.quary
