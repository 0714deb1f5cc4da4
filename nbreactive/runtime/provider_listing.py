"""The sign-in providers that the modules of a bundle name, and why they cannot be deployed."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Collection, Mapping
from types import ModuleType
from typing import Any, Final

import msgspec

from nbreactive.errors import NBReactiveError
from nbreactive.functions.auth_config import read_auth_config
from nbreactive.functions.specs import FunctionSpec, Issue, ProviderSpec
from nbreactive.runtime.loader import file_of, module_name

_NAME: Final = "auth_config"


def list_providers(
    modules: Mapping[ModuleType, Mapping[str, Any]],
    functions: Collection[FunctionSpec],
    assigned: Callable[[ModuleType], Mapping[str, int]],
) -> tuple[tuple[ProviderSpec, ...], list[Issue]]:
    """Return the providers, and what is wrong with them; the parameters are those of ``list_crons``."""
    found: tuple[ProviderSpec, ...] = ()
    issues: list[Issue] = []
    place = ""
    for module, exports in modules.items():
        # One that was imported from another module is that module's; a module of that name may hold it.
        if _NAME not in exports or isinstance(exports[_NAME], ModuleType) or _NAME not in (lines := assigned(module)):
            continue
        name, line = module_name(module.__name__), lines[_NAME]
        if place:
            reason = f"there are two auth_config, here and in {place}"
            issues.append(Issue(file_of(name), line, reason, "put all providers into one of them"))
            continue
        place = f"{file_of(name)}:{line}"
        try:
            read = read_auth_config(exports[_NAME])
        except NBReactiveError as error:
            reason, _, fix = error.message.partition("; ")
            issues.append(Issue(file_of(name), line, reason, fix))
            continue
        found = tuple(msgspec.structs.replace(provider, module=name, line=line) for provider in read)
        issues += _problems(found, functions, file_of(name), line)
    return found, issues


def _problems(
    providers: Collection[ProviderSpec], functions: Collection[FunctionSpec], file: str, line: int
) -> list[Issue]:
    issues: list[Issue] = []
    if any(provider.type != "session" for provider in providers) and not all(
        importlib.util.find_spec(package) for package in ("jwt", "cryptography")
    ):
        reason = "issuers are configured, and the packages that verify their tokens are not installed here"
        issues.append(Issue(file, line, reason, "pip install nbreactive[auth]"))
    known = {function.path: function for function in functions}
    for provider in providers:
        if provider.type != "session":
            continue
        function = known.get(provider.function)
        if function is None or function.kind != "query" or function.visibility != "internal":
            reason = f"{provider.function} is to say who holds a token, and is no internal query"
            fix = 'define it: @internal_query def session(ctx, token: str): return {"subject": ...} or None'
            issues.append(Issue(file, line, reason, fix))
    return issues
