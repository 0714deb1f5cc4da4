"""Writing the generated files: each as a whole, and only if it changed, so that watchers and editors stay quiet."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from nbreactive.functions.generated import FOLDER
from nbreactive.functions.specs import FunctionSpec, TableSpec
from nbreactive.services.stubs import python, typescript
from nbreactive.services.stubs.python_server import SERVER_PY, server_stub

INIT = f'{python.HEAD}"""What nbreactive knows of the deployed functions, for type checkers and editors."""\n'


def generate(
    functions: Sequence[FunctionSpec], tables: Sequence[TableSpec], *, schema_validation: bool = True
) -> dict[str, str]:
    """Return the generated files: name -> text.

    Parameters
    ----------
    functions, tables
        What is deployed, in any order.
    schema_validation
        Whether documents are what the schema says.
    """
    return {
        "__init__.py": INIT,
        "api.py": python.API_PY,
        "api.pyi": python.api_stub(functions, tables),
        "data_model.py": python.data_model(tables),
        "server.py": SERVER_PY,
        "server.pyi": server_stub(tables),
        "api.js": typescript.API_JS,
        "api.d.ts": typescript.api_types(functions),
        "dataModel.d.ts": typescript.data_model_types(tables, complete=schema_validation),
    }


def write_stubs(
    functions: Sequence[FunctionSpec],
    tables: Sequence[TableSpec],
    folder: str | os.PathLike[str],
    *,
    schema_validation: bool = True,
) -> list[Path]:
    """Write ``_generated`` into a functions folder; returns the files that were changed.

    Parameters
    ----------
    functions, tables
        What is deployed.
    folder
        The functions folder: ``reactive``.
    schema_validation
        Whether documents are what the schema says.

    Raises
    ------
    OSError
        The folder cannot be written to.
    """
    target = Path(folder) / FOLDER
    target.mkdir(parents=True, exist_ok=True)
    changed: list[Path] = []
    for name, text in generate(functions, tables, schema_validation=schema_validation).items():
        # Lone surrogates in literals are written as repr() has them, so only documentation can hold any.
        data = text.encode("utf-8", "replace")
        path = target / name
        if _read(path) != data:
            _replace(path, data)
            changed.append(path)
    return changed


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None


def _replace(path: Path, data: bytes) -> None:
    """Put a file into place, whole: nobody ever reads half of it."""
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(temporary).unlink()
        raise
