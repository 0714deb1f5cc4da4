"""Who is above the row rules and who is not, whatever they share a backend and its results with."""

from __future__ import annotations

import asyncio
import base64
import json
from pathlib import Path
from typing import Any

from tornado.httpclient import AsyncHTTPClient, HTTPRequest

from nbreactive.server.identity import IDENTITY_HEADER, PROXY_HEADER
from tests.server.test_sign_in import KEY, House, house

NOTES = """
from nbreactive import action, api, internal, internal_mutation, internal_query, query, rules

rules("notes", read=lambda ctx, doc: doc["open"])

@query
def notes(ctx): return sorted(doc["text"] for doc in ctx.db.query("notes"))
@query
def counted(ctx): return ctx.db.query("notes").count()
@internal_query
def everything(ctx): return ctx.db.query("notes").count()
@internal_mutation
def add(ctx, text: str, open: bool): ctx.db.insert("notes", {"text": text, "open": open})
@action
async def acts(ctx): return await ctx.run_query(api.notes.notes)
"""
OPEN, ALL = ["open"], ["open", "secret"]


def vouched(subject: str, *roles: str) -> dict[str, str]:
    who = base64.urlsafe_b64encode(json.dumps({"subject": subject, "roles": roles}).encode()).decode()
    return {PROXY_HEADER: "the secret", IDENTITY_HEADER: who}


async def call(at: House, path: str, headers: dict[str, str], kind: str = "query") -> Any:
    body = json.dumps({"path": path, "args": {}, "format": "json"})
    request = HTTPRequest(f"{at.url}/api/{kind}", "POST", headers, body)
    return json.loads((await AsyncHTTPClient(force_instance=True).fetch(request)).body)["value"]


def test_results_are_shared_with_nobody_whom_the_rules_concern(tmp_path: Path) -> None:
    acting = base64.b64encode(b'{"subject": "ada"}').decode()
    above = {"Authorization": f"Convex {KEY}"}
    owner = vouched("owner", "read", "write", "deploy", "admin")
    below = {
        "nobody": {},
        "a user": vouched("bob", "read", "write"),
        "an owner": owner,
        "the admin as somebody": {"Authorization": f"Convex {KEY}:{acting}"},
    }

    async def main() -> None:
        async with house(tmp_path, proxy_secret="the secret") as at:
            await at.deploy(notes=NOTES)
            for text in ALL:
                await at.internal("notes:add", text=text, open=text == "open")
            # None of these looks at the identity, so nothing but who asks keeps them apart; in both orders.
            for order in (list(below), list(reversed(below))):
                for name in order:
                    for _ in range(2):
                        assert await call(at, "notes:notes", below[name]) == OPEN, name
                        assert await call(at, "notes:counted", below[name]) == 1, name
                        assert await call(at, "notes:acts", below[name], "action") == OPEN, name
                        assert await call(at, "notes:notes", above) == ALL
                        assert await call(at, "notes:counted", above) == 2
                        assert await call(at, "notes:acts", above, "action") == ALL
            # Whoever may deploy may ask what is internal, and internal functions are exempt.
            assert await call(at, "notes:everything", owner, "function") == 2

    asyncio.run(main())
