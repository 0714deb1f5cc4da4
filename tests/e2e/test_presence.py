"""Two people who look at a bar of avatars see each other, each as who they are, and see the other leave."""

from __future__ import annotations

import json
from collections.abc import Callable

from playwright.sync_api import Locator, expect

from tests.e2e.people import PATIENCE, Person
from tests.jupyter.servers import JupyterProcess

METADATA = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
CELLS = ["%load_ext nbreactive\nimport nbreactive", "nbreactive.PresenceBar('report')"]


def avatars(person: Person) -> Locator:
    return person.page.locator(".nbr-avatar")


def test_everybody_who_looks_is_shown_to_everybody_else(person: Callable[[str], Person], lab: JupyterProcess) -> None:
    people = [person("Alice"), person("Bob")]
    for somebody in people:
        cells = [
            {
                "cell_type": "code",
                "id": f"c{n}",
                "source": source,
                "metadata": {},
                "outputs": [],
                "execution_count": None,
            }
            for n, source in enumerate(CELLS)
        ]
        name = f"presence-{somebody.name.lower()}.ipynb"
        (lab.root / name).write_text(
            json.dumps({"cells": cells, "metadata": METADATA, "nbformat": 4, "nbformat_minor": 5}), "utf-8"
        )
        somebody.open(name)
        somebody.run_all()
    alice, bob = people
    # their pages have joined, not their kernels: as who they are, and each is told who they are
    for somebody, names in ((alice, {"Alice (you)", "Bob"}), (bob, {"Alice", "Bob (you)"})):
        for name in names:
            expect(somebody.page.get_by_role("img", name=name, exact=True)).to_be_visible(timeout=PATIENCE)
        expect(avatars(somebody)).to_have_count(2)
        expect(somebody.page.get_by_role("list", name="2 people in report")).to_be_visible()
    bob.page.goto("about:blank")
    expect(avatars(alice)).to_have_count(1, timeout=PATIENCE)
    assert not alice.errors and not bob.errors
