"""Whether somebody whom a Hub has let in may stay: a connection lasts longer than the permission that opened it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from tornado.web import HTTPError, RequestHandler


def access_ends(
    auth: Any, handler: RequestHandler, still: Callable[[dict[str, Any]], bool]
) -> Coroutine[None, None, None]:
    """Return what ends when the Hub does not say any more what it said of the client of ``handler``.

    Parameters
    ----------
    auth
        JupyterHub's ``HubAuth``; asked as often as its answers age (``cache_max_age``).
    handler
        Whose request the Hub has judged.
    still
        Whether the Hub's model of the user is good enough.
    """
    return _ends(auth, auth.get_token(handler), auth.get_session_id(handler), still)


async def _ends(auth: Any, token: str, session: str, still: Callable[[dict[str, Any]], bool]) -> None:
    while True:
        await asyncio.sleep(max(1, auth.cache_max_age))
        try:
            model = await auth.user_for_token(token, use_cache=False, session_id=session, sync=False)
        except HTTPError:
            continue  # the Hub does not answer: until it does, what it has said stays true
        if model is None or not still(model):
            return
