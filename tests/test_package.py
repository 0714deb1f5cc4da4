"""What the package as a whole must not contain, and that every attack case has its test."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from nbreactive.columns._frames import Open
from nbreactive.columns.database import Store

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "nbreactive"
CASES = {*range(1, 36), 43, *range(45, 49)}

UNSAFE_MODULES = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "marshal", "shelve", "yaml", "multiprocessing", "xmlrpc"}  # fmt: skip
RUNS_TEXT = {"eval", "exec", "compile", "__import__"}
MAY_RUN_TEXT = {
    ("functions/hints.py", "eval"),  # hints that are text, of the user's own functions
    ("runtime/loader.py", "compile"),  # the user's modules, in a worker
    ("runtime/loader.py", "exec"),
}


def sources() -> Iterator[tuple[str, ast.Module]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        yield path.relative_to(PACKAGE).as_posix(), ast.parse(path.read_text("utf-8"))


def test_nothing_is_unpickled_and_no_text_is_run_case_48() -> None:
    imported: set[tuple[str, str]] = set()
    run: set[tuple[str, str]] = set()
    for name, tree in sources():
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                imported |= {(name, alias.name.partition(".")[0]) for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                imported.add((name, node.module.partition(".")[0]))
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in RUNS_TEXT:
                run.add((name, node.func.id))
            elif isinstance(node, ast.keyword) and node.arg in ("allow_pickle", "shell", "trust_remote_code"):
                assert isinstance(node.value, ast.Constant) and not node.value.value, f"{name}:{node.value.lineno}"
            elif isinstance(node, ast.Attribute) and node.attr in ("read_pickle", "to_pickle", "literal_eval"):
                run.add((name, node.attr))
    assert {found for found in imported if found[1] in UNSAFE_MODULES} == set()
    assert run <= MAY_RUN_TEXT, run - MAY_RUN_TEXT


def test_the_store_loads_no_extensions_case_48(tmp_path: Path) -> None:
    store = Store(Open(str(tmp_path / "store.duckdb"), "256MB", 1))
    try:
        names = (
            "autoinstall_known_extensions", "autoload_known_extensions", "allow_community_extensions", "allow_unsigned_extensions",
            "enable_external_access", "allow_persistent_secrets", "python_enable_replacements",
        )  # fmt: skip
        found = {name: store.connection.execute(f"SELECT current_setting('{name}')").fetchone() for name in names}
        assert set(found.values()) == {(False,)}, found
        for statement in ("INSTALL httpfs", "LOAD httpfs", "SET autoload_known_extensions = true", f"ATTACH '{tmp_path}/other.duckdb'", "SELECT * FROM 'https://example.com/a.parquet'"):  # fmt: skip
            with pytest.raises(Exception, match=r"(?i)permission|disabled|locked|cannot"):
                store.connection.execute(statement)
    finally:
        store.close()


def test_nothing_of_ours_writes_csv_case_32() -> None:
    """A cell ``=cmd()`` runs in a spreadsheet: who adds a CSV export has to quote such cells, and to say so."""
    for name, tree in sources():
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom):  # reading some is `import csv` and csv.reader
                assert node.module not in ("csv", "pyarrow.csv"), name
            elif isinstance(node, ast.Attribute):
                written = ("to_csv", "write_csv", "to_clipboard", "to_excel", "DictWriter")
                assert node.attr not in written, name
                assert not (node.attr == "writer" and getattr(node.value, "id", "") == "csv"), name
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                assert not re.search(r"(?i)text/csv|format\s+csv|\bcopy\b.*\bto\b.*csv", node.value), name
    for path in (ROOT / "labextension" / "src").rglob("*.ts"):
        assert "csv" not in path.read_text("utf-8").lower(), path


def test_every_attack_case_has_its_test() -> None:
    named: set[int] = set()
    for path in (ROOT / "tests").rglob("test_*.py"):
        for name in re.findall(r"def (test_\w+)", path.read_text("utf-8")):
            for numbers in re.findall(r"_case((?:_\d+)+)", name):
                named |= {int(number) for number in numbers.split("_") if number}
    assert named >= CASES, f"no test carries the number of {sorted(CASES - named)}"
