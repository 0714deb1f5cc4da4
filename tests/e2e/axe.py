"""axe-core over what is on the screen: a page has no serious or critical violation of accessibility."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from playwright.sync_api import Page

SCRIPT = Path(__file__).parents[2] / "labextension" / "node_modules" / "axe-core" / "axe.min.js"
WORST = ("serious", "critical")


def violations(page: Page, *selectors: str, impacts: tuple[str, ...] = WORST) -> list[dict[str, Any]]:
    """Return what axe-core has against the parts of a page that selectors name: rule, impact, and where.

    Jupyter's own pages are not free of violations, so name the parts that are ours.
    """
    if not page.evaluate("() => 'axe' in window"):
        page.evaluate(SCRIPT.read_text(encoding="utf-8") + "\n;0")
    found: dict[str, Any] = page.evaluate(
        "selectors => axe.run({include: selectors}, {resultTypes: ['violations']})", [[part] for part in selectors]
    )
    return [
        {
            "rule": violation["id"],
            "impact": violation["impact"],
            "help": violation["help"],
            "where": [node["html"][:300] + "\n" + str(node.get("failureSummary")) for node in violation["nodes"][:5]],
        }
        for violation in found["violations"]
        if violation["impact"] in impacts
    ]


def check(page: Page, *selectors: str) -> None:
    """Fail with what is wrong, where axe-core finds a serious or critical violation."""
    found = violations(page, *selectors)
    assert not found, json.dumps(found, indent=1)
