"""Importing a bundle and listing what it holds: functions, tables, and why it cannot be deployed.

As many issues as possible are found at once: those of the sources first, then, if there are none, those that show only
by importing. Every one names a file and a line of the user's.
"""

from __future__ import annotations

import ast
import linecache
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from types import ModuleType
from typing import Any, Final

import msgspec

from nbreactive.errors import DeployRefused, NBReactiveError
from nbreactive.functions import generated
from nbreactive.functions.decorators import Function
from nbreactive.functions.paths import module_problem
from nbreactive.functions.schema import SchemaDefinition
from nbreactive.functions.specs import (
    Bundle,
    CronSpec,
    FunctionSpec,
    Issue,
    Manifest,
    ProviderSpec,
    RouteSpec,
    RuleSpec,
    TableSpec,
)
from nbreactive.runtime.analysis import analyse
from nbreactive.runtime.cron_listing import list_crons
from nbreactive.runtime.determinism import install_numpy
from nbreactive.runtime.errors_of import text_of, user_frames
from nbreactive.runtime.loader import Program, file_of, module_name
from nbreactive.runtime.provider_listing import list_providers
from nbreactive.runtime.route_listing import list_routes
from nbreactive.runtime.rule_listing import list_rules

_UNLIMITED: Final = nullcontext()


def load_program(
    bundle: Bundle, import_paths: Sequence[str] = (), limits: AbstractContextManager[None] = _UNLIMITED
) -> tuple[Program, Manifest | list[Issue]]:
    """Import all modules of a bundle within ``limits``; returns its manifest, or the issues that refuse it."""
    program = Program(bundle, import_paths)
    program.install()
    issues = [
        Issue(file_of(module.name), 0, problem, "choose another name")
        for module in bundle.modules
        if (problem := module_problem(module.name))
    ]
    issues += analyse(bundle)
    if issues:
        return program, issues
    listing = _Listing(program, limits)
    for module in bundle.modules:
        listing.load(module.name)
    listing.list_all()
    install_numpy()
    if listing.issues:
        return program, list(dict.fromkeys(listing.issues))
    manifest = Manifest(
        version=bundle.version,
        functions=tuple(sorted(listing.functions, key=lambda spec: spec.path)),
        tables=tuple(sorted(listing.tables.values(), key=lambda spec: spec.name)),
        schema_validation=listing.validation,
        threads=tuple(dict.fromkeys(program.threads)),
        crons=tuple(listing.crons),
        routes=tuple(listing.routes),
        providers=listing.providers,
        rules=tuple(listing.rules),
    )
    return program, manifest


def refusal(issues: list[Issue]) -> DeployRefused:
    """The error that refuses a deploy because of ``issues``."""
    lines = [
        f"{issue.file}:{issue.line}: {issue.reason}" + (f"\n    {issue.fix}" if issue.fix else "") for issue in issues
    ]
    head = "the deploy was refused, and nothing has changed:" if len(issues) == 1 else "the deploy was refused:"
    return DeployRefused("\n".join([head, *lines]), [msgspec.to_builtins(issue) for issue in issues])


class _Listing:
    def __init__(self, program: Program, limits: AbstractContextManager[None]) -> None:
        self._program = program
        self._limits = limits
        self.functions: list[FunctionSpec] = []
        self.tables: dict[str, TableSpec] = {}
        self.crons: list[CronSpec] = []
        self.routes: list[RouteSpec] = []
        self.providers: tuple[ProviderSpec, ...] = ()
        self.rules: list[RuleSpec] = []
        self.validation = True
        self.issues: list[Issue] = []
        self._loaded: dict[ModuleType, dict[str, Any]] = {}

    def load(self, name: str) -> None:
        try:
            with self._limits:
                module = self._program.load(name)
                self._loaded[module] = dict(vars(module))  # before a module below it hides a name
        except BaseException as error:  # noqa: BLE001 - it is user code
            self.issues += _issues_of(error, file_of(name))

    def list_all(self) -> None:
        for module, exports in self._loaded.items():
            self._add_tables(module, exports)
        generated.define_types(self.tables.values())  # hints of functions may name them
        for module, exports in self._loaded.items():
            self._add_functions(module, exports)
        if not self.issues:
            self.crons, self.issues = list_crons(self._loaded, self.functions, _assigned)
            self.routes, issues = list_routes(self._loaded, self.functions, _assigned)
            self.issues += issues
            self.providers, issues = list_providers(self._loaded, self.functions, _assigned)
            self.issues += issues
            self._program.rules, self.rules, issues = list_rules(self._loaded)
            self.issues += issues

    def _add_functions(self, module: ModuleType, exports: dict[str, Any]) -> None:
        name = module_name(module.__name__)
        found: dict[str, Function] = {}
        for function in exports.values():
            if not isinstance(function, Function) or function.__module__ != module.__name__:
                continue
            other = found.setdefault(function.name, function)
            if other is not function:
                reason = f"two functions are exported as {function.name!r} (the other one at line {other.line})"
                self.issues.append(Issue(file_of(name), function.line, reason, "rename one of them"))
        for function in found.values():
            path = f"{name}:{function.name}"
            try:
                self.functions.append(function.spec(path))
            except NBReactiveError as error:
                self.issues += _issues_of(error, file_of(name), function.line)
            else:
                self._program.functions[path] = function

    def _add_tables(self, module: ModuleType, exports: dict[str, Any]) -> None:
        name, lines = module_name(module.__name__), _assigned(module)
        for variable, schema in exports.items():
            # A schema that was imported from another module is that module's.
            if not isinstance(schema, SchemaDefinition) or variable not in lines:
                continue
            self.validation = self.validation and schema.validation
            for spec in schema.specs(name, lines[variable]):
                other = self.tables.setdefault(spec.name, spec)
                if other is not spec:
                    where = f"{file_of(other.module)}:{other.line}"
                    reason = f"table {spec.name!r} is defined twice, here and in {where}"
                    self.issues.append(Issue(file_of(name), spec.line, reason, "keep it in one of the modules"))


def _assigned(module: ModuleType) -> dict[str, int]:
    """Names that a module's top level assigns, with their lines."""
    source = "".join(linecache.getlines(module.__file__ or ""))
    lines: dict[str, int] = {}
    for statement in ast.parse(source).body:
        targets: list[ast.expr] = []
        if isinstance(statement, ast.Assign):
            targets = statement.targets
        elif isinstance(statement, ast.AnnAssign):
            targets = [statement.target]
        lines |= {target.id: statement.lineno for target in targets if isinstance(target, ast.Name)}
    return lines


def _issues_of(error: BaseException, file: str, line: int = 0) -> Iterator[Issue]:
    if isinstance(error, DeployRefused) and error.issues:
        for issue in error.issues:
            yield _issue(issue, file, line)
        return
    frames = list(user_frames(error.__traceback__))
    if frames:
        file, line = frames[-1].filename, frames[-1].lineno or line
    text = text_of(error)
    if isinstance(error, NBReactiveError):
        reason, _, fix = text.partition("; ")
    elif isinstance(error, MemoryError):
        reason = "importing it took more memory than a worker may have (MemoryError)"
        fix = "read less at import; keep large data in a table, or work on it in the notebook"
    else:
        name = type(error).__name__
        reason, fix = f"importing it raised {name}: {text}" if text else f"importing it raised {name}", ""
    yield Issue(file, line, reason, fix)


def _issue(data: dict[str, Any], file: str, line: int) -> Issue:
    return Issue(
        data.get("file") or file,
        data.get("line") or line,
        data.get("reason", ""),
        data.get("fix", ""),
        data.get("column", 0),
    )
