"""Why a deploy is refused: every issue with its file, line, reason and fix."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from nbreactive.functions.specs import Issue, Manifest
from nbreactive.runtime.loader import Program, SourceFinder
from nbreactive.runtime.manifest import load_program
from tests.runtime.house import bundle


@pytest.fixture(autouse=True)
def _no_modules_left() -> Any:
    yield
    sys.meta_path[:] = [finder for finder in sys.meta_path if not isinstance(finder, SourceFinder)]
    for name in [name for name in sys.modules if name.split(".")[0] == "reactive"]:
        del sys.modules[name]


def issues(**modules: str) -> list[Issue]:
    found = load_program(bundle(1, **modules))[1]
    assert not isinstance(found, Manifest), "it was not refused"
    return found


def one(source: str, **others: str) -> Issue:
    (issue,) = issues(m=source, **others)
    return issue


def accepted(**modules: str) -> tuple[Program, Manifest]:
    program, found = load_program(bundle(1, **modules))
    assert isinstance(found, Manifest), found
    return program, found


def test_a_name_of_the_notebook() -> None:
    issue = one("@query\ndef f(ctx):\n    return df.head()\n")
    assert (issue.file, issue.line, issue.column) == ("reactive/m.py", 4, 12)
    assert "'df' is not defined in this module" in issue.reason
    assert "only the notebook defines" in issue.reason
    assert "define it in this module" in issue.fix
    assert "part of IPython" in one("@query\ndef f(ctx):\n    display(1)\n").fix


def test_all_names_at_once() -> None:
    found = issues(
        m="x = a\n@query\ndef f(ctx, y=b):\n    def g(): return c\n    return [d for e in range(3)]\n", n="k = z"
    )
    assert [(issue.file, issue.line) for issue in found] == [
        ("reactive/m.py", 2), ("reactive/m.py", 4), ("reactive/m.py", 5), ("reactive/m.py", 6), ("reactive/n.py", 2),
    ]  # fmt: skip


def test_a_function_may_be_named_as_the_modules_table_is_in_cpython() -> None:
    accepted(m="@query\ndef top(ctx, n: int = 3):\n    found = n\n    return [found for ctx in range(found)], ctx\n")
    accepted(m="class top:\n    x = 1\n    y = x\n    def top(self, a):\n        return a, (lambda b: b)(a)\n")
    accepted(
        m="def f(a):\n    b = a\n    def top(c):\n        nonlocal b\n        b = c\n        return b\n    return top\n"
    )
    accepted(m="def top():\n    global made\n    made = 1\n    return made\n")
    for body in ("return df", "global df; return df", "return [df for x in ctx]", "return (lambda: df)()"):
        assert "'df' is not defined" in one(f"@query\ndef top(ctx):\n    {body}\n").reason, body


def test_names_that_are_fine() -> None:
    accepted(
        m="""
import collections.abc as abc, os.path
from typing import TYPE_CHECKING
if TYPE_CHECKING:
    import nothing_like_this
try:
    import not_installed_either
except ImportError:
    not_installed_either = None
class A:
    x = 1
    y = x
    def m(self): return __class__, A
def set_it():
    global later
    later = 1
def walrus(xs): return [y for x in xs if (y := x)]
def matching(x):
    match x:
        case {"a": first, **rest}: return first, rest
        case [*items]: return items
def unpack(*args, **kwargs):
    (a, (b, *c)), d = args
    with open(os.path.devnull) as f, abc.Iterable as g: del f
    try: pass
    except Exception as e: print(e)
    return lambda z=a: (z, b, c, d, kwargs, later, __name__, __file__, _undefined_later)
_undefined_later = 1
@query
def f(ctx): return 1
"""
    )


def test_a_module_that_the_environment_lacks() -> None:
    issue = one("@query\ndef f(ctx):\n    import torchvisionx.models\n")
    assert (issue.line, "has no module 'torchvisionx'" in issue.reason) == (4, True)
    assert sys.executable in issue.reason
    assert issue.fix.endswith("-m pip install torchvisionx")
    assert "need not be the environment of the notebook" in issue.reason


def test_modules_that_are_not_deployed() -> None:
    issue = one("from reactive.lib import helper\n", other="x = 1")
    assert "no module 'reactive.lib' is deployed (there are: reactive.other)" in issue.reason
    accepted(
        m="from reactive.admin.users import name\nfrom reactive import other\nimport reactive.admin",
        admin__users="name = 1",
        other="",
    )
    issue = one("from reactive.other import nothing", other="x = 1")
    assert "cannot import name 'nothing'" in issue.reason
    assert issue.line == 2


def test_modules_may_import_each_other_in_a_circle() -> None:
    accepted(a="import reactive.b\n@query\ndef f(ctx): return reactive.b.g()", b="import reactive.a\ndef g(): return 1")


@pytest.mark.parametrize(
    ("source", "line", "text"),
    [
        ("def f(:\n", 2, "SyntaxError"),
        ("%matplotlib inline\n", 2, "SyntaxError"),
        ("@query\nasync def f(ctx): pass\n", 3, "async"),
        ("@query\ndef f(ctx, *args): pass\n", 2, "*args"),
        ("@query\ndef f(): pass\n", 2, "ctx"),
        ("import decimal\n@query\ndef f(ctx, x: decimal.Decimal): pass\n", 3, "x"),
        ("@query\ndef f(ctx) -> 'Nope': pass\n", 2, "Nope"),
        ("x = 1 / 0\n", 2, "importing it raised ZeroDivisionError: division by zero"),
        ("@query\ndef f(ctx): pass\n@mutation(name='f')\ndef g(ctx): pass\n", 4, "two functions are exported as 'f'"),
        ("from nbreactive import define_schema\nschema = define_schema({'_x': 1})\n", 3, "_x"),
    ],
)
def test_what_else_is_refused(source: str, line: int, text: str) -> None:
    issue = one(source)
    assert (issue.file, issue.line) == ("reactive/m.py", line)
    assert text in issue.reason, issue
    assert issue.fix or "raised" in issue.reason


def test_magics_have_a_fix_of_their_own() -> None:
    assert "another cell" in one("!ls\n").fix


def test_a_table_in_two_modules() -> None:
    schema = "from nbreactive import define_schema, define_table\nschema = define_schema({'t': define_table({})})\n"
    (issue,) = issues(a=schema, b=schema)
    assert issue.reason == "table 't' is defined twice, here and in reactive/a.py:3"
    program, manifest = accepted(a=schema, b="from reactive.a import schema")
    assert [(table.name, table.module) for table in manifest.tables] == [("t", "a")]
    assert set(program.modules) == {"a", "b"}


def test_functions_of_other_modules_are_not_exported_again() -> None:
    _, manifest = accepted(a="@query\ndef f(ctx): pass", b="from reactive.a import f")
    assert [spec.path for spec in manifest.functions] == ["a:f"]


def test_bad_module_names() -> None:
    found = load_program(bundle(1, **{"../etc": "x = 1"}))[1]
    assert not isinstance(found, Manifest)
    assert "name of a module" in found[0].reason


def test_imports_from_the_given_folders(tmp_path: Path) -> None:
    (tmp_path / "my_own_helpers.py").write_text("VALUE = 5")
    try:
        _, found = load_program(bundle(1, m="import my_own_helpers\nx = my_own_helpers.VALUE"), [str(tmp_path)])
        assert isinstance(found, Manifest)
    finally:
        sys.path.remove(str(tmp_path))
        sys.modules.pop("my_own_helpers", None)
