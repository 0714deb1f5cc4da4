"""Which function edits the cells of a table, and how it is called."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from nbreactive.client.arguments import path_of
from nbreactive.client.calls import dotted
from nbreactive.errors import ArgumentError
from nbreactive.notebook.field_kinds import document_fields, field_of
from nbreactive.values._paths import with_article

if TYPE_CHECKING:
    from nbreactive.client.client import Client
    from nbreactive.client.live_value import LiveValue

PATCH = "_system/tables:patch"
_ANY = {"*": {"kind": "", "nullable": True, "options": []}}


class Edit:
    """How a cell is edited.

    Attributes
    ----------
    path
        The mutation; empty if a function of the notebook does it.
    id, wrap
        The argument for the document, and the one that holds its fields; ``""``: fields are arguments themselves.
    fields
        What may be edited, by name.
    """

    def __init__(
        self,
        path: str,
        fields: dict[str, Any],
        *,
        id: str = "id",
        wrap: str = "",
        work: Callable[..., Any] | None = None,
    ) -> None:
        self.path, self.fields, self.id, self.wrap, self.work = path, fields, id, wrap, work

    def told(self) -> dict[str, Any]:
        """Return what a page is told of it."""
        return {"path": self.path, "id": self.id, "wrap": self.wrap, "fields": self.fields}

    def args(self, document: str, field: str, value: Any) -> dict[str, Any]:
        """Return the arguments that set a field of a document."""
        change = {field: value}
        return {self.id: document, **({self.wrap: change} if self.wrap else change)}


def edit_of(given: Any, live: LiveValue, client: Client) -> Edit | None:
    """Return how cells of a live query are edited: ``given`` is a mutation, a function of the notebook, or True for tables."""
    from nbreactive.notebook.table import TableQuery

    if given is None or given is False:
        return None
    if given is True:
        if not isinstance(live, TableQuery):
            raise ArgumentError(
                f"edit=True is for whole tables, nbreactive.table(...); {live.title} is a query: give the mutation that "
                "edits its documents, edit=api.posts.update."
            )
        fields = document_fields(live.declared)
        known = {name: field_of(field) for name, field in fields.items() if not name.startswith("_")}
        return Edit(PATCH, known or _ANY, wrap="fields")
    if isinstance(getattr(given, "path", given), str):
        return _by_function(path_of(given), client)
    if not callable(given):
        raise ArgumentError(
            f"edit is a mutation (api.posts.update), or a function of (id, **changes), not {given!r:.60}"
        )
    fields = {name: field_of(field) for name, field in document_fields(live.declared).items()}
    return Edit("", {name: field for name, field in fields.items() if not name.startswith("_")} or _ANY, work=given)


def _by_function(path: str, client: Client) -> Edit:
    described = client.function(path)
    name = dotted(path)
    if described["kind"] != "mutation":
        raise ArgumentError(f"{name} is {with_article(described['kind'])}, and edits are made by mutations.")
    validator = described["args"]
    if validator.get("type") != "object":
        return Edit(path, _ANY)
    args: dict[str, Any] = validator["value"]
    ids = [arg for arg, said in args.items() if said["fieldType"]["type"] == "id" and not said["optional"]]
    document = "id" if "id" in args else ids[0] if len(ids) == 1 else None
    if document is None:
        raise ArgumentError(
            f"{name} has no argument for the document that is edited: call one of them id, or hint it as Id["
            '"table"]. It is called as edit(id=row["_id"], field=value).'
        )
    needed = [arg for arg, said in args.items() if arg != document and not said["optional"]]
    others = [arg for arg in args if arg != document]
    if (needed and len(others) > 1) or not others:
        raise ArgumentError(
            f"{name} is called with one field at a time, {name}({document}=..., {(others or ['field'])[0]}=value)"
            + (
                f", and needs {', '.join(needed)} each time: give them defaults, {needed[0]}: ... = UNSET."
                if needed
                else "."
            )
        )
    return Edit(path, {arg: field_of(args[arg]["fieldType"]) for arg in others}, id=document)


def run_for_page(widget: Any, work: Callable[..., Any], args: dict[str, Any], number: str) -> None:
    """Let a function of the notebook edit, in a thread of its own (it may wait for calls), and tell the page how it went."""

    def run() -> None:
        answer: dict[str, Any] = {"type": "answer", "id": number}
        try:
            work(**args)
        except Exception as failure:  # noqa: BLE001 (shown at the cell)
            answer["error"] = f"{type(failure).__name__}: {failure}"
        widget.send(answer)

    threading.Thread(target=run, name="nbreactive-edit", daemon=True).start()
