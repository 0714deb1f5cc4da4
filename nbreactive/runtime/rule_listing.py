"""The row rules that the modules of a bundle define, and why some of them cannot be deployed."""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType
from typing import Any

from nbreactive.functions.rules import KEPT, TableRules
from nbreactive.functions.specs import Issue, RuleSpec
from nbreactive.runtime.loader import file_of, module_name


def list_rules(
    modules: Mapping[ModuleType, Mapping[str, Any]],
) -> tuple[dict[str, TableRules], list[RuleSpec], list[Issue]]:
    """Return all rules by table, their descriptions, and what is wrong with them."""
    found: dict[str, TableRules] = {}
    specs: dict[str, RuleSpec] = {}
    issues: list[Issue] = []
    for module, exports in modules.items():
        name = module_name(module.__name__)
        kept: list[TableRules] = exports.get(KEPT, [])
        for rules in kept:
            other = specs.get(rules.table)
            if other is not None:
                where = f"{file_of(other.module)}:{other.line}"
                reason = f"table {rules.table!r} has rules twice, here and in {where}"
                issues.append(Issue(file_of(name), rules.line, reason, "make them one"))
                continue
            found[rules.table], specs[rules.table] = rules, rules.spec(name)
    return found, [specs[table] for table in sorted(specs)], issues
