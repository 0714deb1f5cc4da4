"""Deployed modules as Python modules: ``chat`` is imported as ``reactive.chat``, ``admin/users`` as ``reactive.admin.users``.

The sources are text, wherever they came from; a finder on :data:`sys.meta_path` serves them and nothing else below
``reactive``, so what runs is exactly what was deployed. Code is compiled with the name ``reactive/chat.py`` and its
lines are put into :mod:`linecache`: tracebacks show them, though there may be no such file.
"""

from __future__ import annotations

import builtins
import contextlib
import importlib
import importlib.abc
import importlib.machinery
import linecache
import os
import sys
import threading
from collections.abc import Generator, Mapping, Sequence
from types import CodeType, ModuleType
from typing import Any, Final

from nbreactive.functions import generated
from nbreactive.functions.decorators import Function
from nbreactive.functions.rules import TableRules
from nbreactive.functions.specs import Bundle

PACKAGE: Final = "reactive"
FILE_PREFIX: Final = "reactive/"


def file_of(module: str) -> str:
    """File name that a module is compiled with: ``reactive/admin/users.py``."""
    return f"{FILE_PREFIX}{module}.py"


def python_name(module: str) -> str:
    """Name that a module is imported as: ``reactive.admin.users``."""
    return f"{PACKAGE}.{module.replace('/', '.')}"


def module_name(python: str) -> str:
    """The inverse of :func:`python_name`."""
    return python.removeprefix(f"{PACKAGE}.").replace(".", "/")


class SourceFinder(importlib.abc.MetaPathFinder, importlib.abc.InspectLoader):
    """Finds and loads the modules of one bundle."""

    def __init__(self, sources: Mapping[str, str]) -> None:
        self._deployed = {python_name(name) for name in sources}
        self._sources = {python_name(name): source for name, source in {**generated.SOURCES, **sources}.items()}
        self._packages = {PACKAGE}
        for name in self._sources:
            parts = name.split(".")
            self._packages.update(".".join(parts[:end]) for end in range(1, len(parts)))

    def find_spec(
        self, fullname: str, _path: Sequence[str] | None, _target: ModuleType | None = None, /
    ) -> importlib.machinery.ModuleSpec | None:
        """Find ``reactive`` and what is below it."""
        if fullname != PACKAGE and not fullname.startswith(f"{PACKAGE}."):
            return None
        if fullname not in self._sources and fullname not in self._packages:
            raise ModuleNotFoundError(f"no module {fullname!r} is deployed", name=fullname)
        spec = importlib.machinery.ModuleSpec(fullname, self, is_package=fullname in self._packages)
        if fullname in self._sources:
            spec.origin = file_of(module_name(fullname))
        return spec

    def get_source(self, fullname: str) -> str:
        """Text of a module; a package without one is empty."""
        return self._sources.get(fullname, "")

    def is_package(self, fullname: str) -> bool:
        """Whether modules lie below it."""
        return fullname in self._packages

    def get_code(self, fullname: str) -> CodeType:
        """Compile a module."""
        return compile(self.get_source(fullname), self._file(fullname), "exec", dont_inherit=True)

    def exec_module(self, module: ModuleType) -> None:
        """Run a module's top level."""
        module.__file__ = self._file(module.__name__)
        exec(self.get_code(module.__name__), module.__dict__)  # noqa: S102 - this is the loader

    def _file(self, fullname: str) -> str:
        # What nobody wrote is in no file, also for tools that measure which lines were run.
        return file_of(module_name(fullname)) if fullname in self._deployed else f"<{fullname}>"


class Program:
    """The imported modules of a bundle.

    Parameters
    ----------
    bundle
        What was deployed.
    import_paths
        Folders to be importable besides the environment's own.
    """

    def __init__(self, bundle: Bundle, import_paths: Sequence[str] = ()) -> None:
        self.bundle = bundle
        self.modules: dict[str, ModuleType] = {}
        self.functions: dict[str, Function] = {}
        """By path; filled by :mod:`nbreactive.runtime.manifest`."""
        self.rules: dict[str, TableRules] = {}
        """By table; filled there, too."""
        self.threads: list[str] = []
        """Imports that started threads, in order."""
        self._sources = {module.name: module.source for module in bundle.modules}
        self._finder = SourceFinder(self._sources)
        self._import_paths = import_paths

    def install(self) -> None:
        """Make the modules importable, instead of those of any bundle before."""
        sys.meta_path[:] = [finder for finder in sys.meta_path if not isinstance(finder, SourceFinder)]
        for name in [name for name in sys.modules if name == PACKAGE or name.startswith(f"{PACKAGE}.")]:
            del sys.modules[name]
        sys.meta_path.insert(0, self._finder)
        sys.path.extend(path for path in self._import_paths if path not in sys.path)
        for name, source in self._sources.items():
            # Without a time of modification linecache never looks for a file, which may exist with another text.
            linecache.cache[file_of(name)] = (len(source), None, source.splitlines(keepends=True), file_of(name))

    def load(self, module: str) -> ModuleType:
        """Import one module of the bundle."""
        with _watching_threads(self.threads):
            found = self.modules[module] = importlib.import_module(python_name(module))
        return found


@contextlib.contextmanager
def _watching_threads(started: list[str]) -> Generator[None]:
    """Note which imports start threads: a process with threads must not be forked."""
    real = builtins.__import__
    depth = 0
    reported = _threads()

    def importing(name: str, names: Any = None, own: Any = None, fromlist: Any = (), level: int = 0) -> ModuleType:
        nonlocal depth, reported
        if depth or level or name == PACKAGE or name.startswith(f"{PACKAGE}."):
            return real(name, names, own, fromlist, level)
        depth += 1
        try:
            return real(name, names, own, fromlist, level)
        finally:
            depth -= 1
            now = _threads()
            if now > reported:
                reported = now
                started.append(name)

    builtins.__import__ = importing
    try:
        yield
    finally:
        builtins.__import__ = real
        if _threads() > reported:
            started.append(PACKAGE)


def _threads() -> int:
    try:
        # Native threads of libraries show here only.
        return len(os.listdir("/proc/self/task"))  # noqa: PTH208
    except OSError:
        return threading.active_count()
