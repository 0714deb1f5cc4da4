"""The cron jobs that the modules of a bundle define, and why some of them cannot be deployed."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from difflib import get_close_matches
from types import ModuleType
from typing import Any

import msgspec

from nbreactive.functions.crons import CronJobs
from nbreactive.functions.specs import CronSpec, FunctionSpec, Issue
from nbreactive.runtime.loader import file_of, module_name
from nbreactive.values._paths import with_article
from nbreactive.values.limits import CRONS, over


def list_crons(
    modules: Mapping[ModuleType, Mapping[str, Any]],
    functions: Collection[FunctionSpec],
    assigned: Callable[[ModuleType], Collection[str]],
) -> tuple[list[CronSpec], list[Issue]]:
    """Return all cron jobs by name, and what is wrong with them.

    Parameters
    ----------
    modules
        With the names that each defines.
    functions
        All that are deployed with them.
    assigned
        Gives the names that a module's top level assigns.
    """
    crons: dict[str, CronSpec] = {}
    issues: list[Issue] = []
    kinds = {function.path: function.kind for function in functions}
    for module, exports in modules.items():
        name = module_name(module.__name__)
        for spec in _defined(name, module, exports, assigned):
            other = crons.setdefault(spec.name, spec)
            if other is not spec:
                where = f"{file_of(other.module)}:{other.line}"
                reason = f"the cron job {spec.name!r} is defined twice, here and in {where}"
                issues.append(Issue(file_of(name), spec.line, reason, "rename one of them"))
            else:
                issues += _problems(spec, kinds)
    if len(crons) > CRONS:
        spec = next(reversed(crons.values()))
        reason, _, fix = over("cron jobs", len(crons), CRONS, "let one do the work of several").partition("; ")
        issues.append(Issue(file_of(spec.module), spec.line, reason, fix))
    return [crons[name] for name in sorted(crons)], issues


def _defined(
    name: str, module: ModuleType, exports: Mapping[str, Any], assigned: Callable[[ModuleType], Collection[str]]
) -> list[CronSpec]:
    found = {variable: value for variable, value in exports.items() if isinstance(value, CronJobs)}
    own = assigned(module) if found else ()
    # What was imported from another module is that module's.
    lists = {id(crons): crons for variable, crons in found.items() if variable in own}
    return [msgspec.structs.replace(job, module=name) for crons in lists.values() for job in crons.jobs]


def _problems(spec: CronSpec, kinds: Mapping[str, str]) -> list[Issue]:
    file, said = file_of(spec.module), f"the cron job {spec.name!r} runs {spec.function}"
    kind = kinds.get(spec.function)
    if kind is None:
        near = get_close_matches(spec.function, kinds, 1)
        fix = f"did you mean {near[0]}?" if near else "deploy that function, too"
        return [Issue(file, spec.line, f"{said}, which is not deployed", fix)]
    if kind not in ("mutation", "action"):
        return [Issue(file, spec.line, f"{said}, which is {with_article(kind)}", "run a mutation or an action")]
    return []
