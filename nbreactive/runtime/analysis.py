"""What is wrong with a module, found before anything of it runs.

Two mistakes are typical for code that comes from a notebook: it uses a name that only the notebook defines, or it
imports a package that the backend's environment lacks. Both are found in the source, all at once and with their
places, and are told apart. What can only be seen by importing is in :mod:`nbreactive.runtime.manifest`.
"""

from __future__ import annotations

import ast
import builtins
import importlib.util
import symtable
import sys
from collections.abc import Iterator
from typing import Final

from nbreactive.functions import generated
from nbreactive.functions.specs import Bundle, Issue, ModuleSource
from nbreactive.runtime.loader import PACKAGE, file_of, python_name

_MODULE_NAMES: Final = frozenset(
    {"__name__", "__file__", "__doc__", "__spec__", "__loader__", "__package__", "__builtins__", "__annotations__"}
    | {"__path__", "__class__", "__module__", "__qualname__", "__debug__", "__dict__"}
)
_NOTEBOOK_ONLY: Final = frozenset(
    {"display", "get_ipython", "In", "Out", "_", "__", "___", "_ih", "_oh", "_dh", "exit", "quit"}
)
_DECORATORS: Final = frozenset({"query", "mutation", "internal_query", "internal_mutation"})


def analyse(bundle: Bundle) -> list[Issue]:
    """Every issue of every module that its source alone shows."""
    deployed = {python_name(module.name) for module in bundle.modules}
    return [issue for module in bundle.modules for issue in _Analysis(module, deployed).issues()]


class _Analysis:
    def __init__(self, module: ModuleSource, deployed: set[str]) -> None:
        self._module = module
        self._file = file_of(module.name)
        self._deployed = deployed

    def issues(self) -> list[Issue]:
        try:
            tree = ast.parse(self._module.source, self._file)
            table = symtable.symtable(self._module.source, self._file, "exec")
        except (SyntaxError, ValueError) as error:
            return [self._syntax(error)]
        found = [*self._imports(tree), *self._asynchronous(tree), *self._names(tree, table)]
        return sorted(found, key=lambda issue: (issue.line, issue.column))

    def _issue(self, node: ast.AST, reason: str, fix: str) -> Issue:
        line, offset = getattr(node, "lineno", 0), getattr(node, "col_offset", -1)
        text = self._module.source.split("\n")[line - 1] if line else ""
        column = len(text.encode()[:offset].decode(errors="ignore")) + 1 if offset >= 0 else 0  # ast counts bytes
        return Issue(self._file, line, reason, fix, column)

    def _syntax(self, error: SyntaxError | ValueError) -> Issue:
        line, column = getattr(error, "lineno", 0) or 0, getattr(error, "offset", 0) or 0
        reason = f"{type(error).__name__}: {getattr(error, 'msg', None) or error}"
        text = (self._module.source.splitlines() or [""])[line - 1 : line]
        if text and text[0].lstrip()[:1] in ("%", "!", "?"):
            fix = "magics and shell commands belong to the notebook: put them into another cell"
        else:
            fix = "correct the line"
        return Issue(self._file, line, reason, fix, column)

    # ---- imports -----------------------------------------------------------------------------------------

    def _imports(self, tree: ast.Module) -> Iterator[Issue]:
        for node in _unguarded(tree):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    yield from self._imported(node, alias.name)
            elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
                if node.module == PACKAGE:
                    for alias in node.names:
                        yield from self._imported(node, f"{PACKAGE}.{alias.name}")
                else:
                    yield from self._imported(node, node.module)

    def _imported(self, node: ast.stmt, name: str) -> Iterator[Issue]:
        if name == PACKAGE or name in generated.MODULES:
            return
        if name.startswith(f"{PACKAGE}."):
            if name not in self._deployed and not any(other.startswith(f"{name}.") for other in self._deployed):
                known = ", ".join(sorted(self._deployed - {python_name(self._module.name)})) or "none"
                yield self._issue(
                    node, f"no module {name!r} is deployed (there are: {known})", "deploy that module first"
                )
            return
        top = name.partition(".")[0]
        if _missing(top):
            yield self._issue(
                node,
                f"the backend's environment has no module {top!r}; it runs {sys.executable}, which need not be the"
                " environment of the notebook",
                f"install it there: {sys.executable} -m pip install {top}",
            )

    # ---- async -------------------------------------------------------------------------------------------

    def _asynchronous(self, tree: ast.Module) -> Iterator[Issue]:
        for node in ast.walk(tree):
            if isinstance(node, ast.AsyncFunctionDef):
                for decorator in node.decorator_list:
                    name = _decorator_name(decorator)
                    if name in _DECORATORS:
                        yield self._issue(
                            node,
                            f"{node.name} is a @{name} and async: queries and mutations are plain functions",
                            "write `def` instead of `async def`, and drop every `await`",
                        )

    # ---- names -------------------------------------------------------------------------------------------

    def _names(self, tree: ast.Module, table: symtable.SymbolTable) -> Iterator[Issue]:
        if any(isinstance(node, ast.ImportFrom) and node.names[0].name == "*" for node in ast.walk(tree)):
            return  # Anything may have come along.
        defined = {symbol.get_name() for symbol in table.get_symbols() if symbol.is_assigned() or symbol.is_imported()}
        defined |= _declared_global(table)
        missing = {name for name in _used_globals(table) if name not in defined and name not in _MODULE_NAMES}
        missing = {name for name in missing if not hasattr(builtins, name) or name in ("exit", "quit")}
        reported: set[str] = set()
        for node in sorted(
            (node for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)),
            key=lambda node: (node.lineno, node.col_offset),
        ):
            if node.id not in missing or node.id in reported:
                continue
            reported.add(node.id)
            if node.id in _NOTEBOOK_ONLY:
                fix = "it is a part of IPython: return the value instead, and show it in the notebook"
            else:
                fix = (
                    "if it is the notebook's: define it in this module, pass it as an argument, or store it in a table;"
                    " if it is a module's: import it"
                )
            yield self._issue(
                node,
                f"the name {node.id!r} is not defined in this module, and what only the notebook defines does not exist"
                " in the backend",
                fix,
            )


def _decorator_name(node: ast.expr) -> str:
    if isinstance(node, ast.Call):
        node = node.func
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def _unguarded(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes but those in ``try: ... except ImportError`` and ``if TYPE_CHECKING``."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Try) and any(_catches_import_error(handler) for handler in child.handlers):
            for part in (*child.orelse, *child.finalbody):
                yield part
                yield from _unguarded(part)
            continue
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test):
            continue
        yield child
        yield from _unguarded(child)


def _catches_import_error(handler: ast.ExceptHandler) -> bool:
    if handler.type is None:
        return True
    names = {node.id for node in ast.walk(handler.type) if isinstance(node, ast.Name)}
    return bool(names & {"ImportError", "ModuleNotFoundError", "Exception", "BaseException"})


def _used_globals(table: symtable.SymbolTable) -> set[str]:
    names = {
        symbol.get_name()
        for symbol in table.get_symbols()
        if symbol.is_referenced() and (table.get_type() == "module" or _means_global(symbol))
    }
    for child in table.get_children():
        names |= _used_globals(child)
    return names


def _means_global(symbol: symtable.Symbol) -> bool:
    """Whether a function's or class's name is the module's.

    CPython takes every table named ``top`` for the module's, and calls what a function of that name binds global, but
    also local, which a global name is nowhere else.
    """
    return symbol.is_declared_global() or (symbol.is_global() and not symbol.is_local())


def _declared_global(table: symtable.SymbolTable) -> set[str]:
    """Names that functions assign after ``global``."""
    names = {
        symbol.get_name() for symbol in table.get_symbols() if symbol.is_declared_global() and symbol.is_assigned()
    }
    for child in table.get_children():
        names |= _declared_global(child)
    return names


def _missing(top: str) -> bool:
    if top in sys.modules or top in sys.builtin_module_names:
        return False
    try:
        return importlib.util.find_spec(top) is None
    except (ImportError, ValueError, AttributeError):
        return True
