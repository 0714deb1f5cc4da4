"""Several deployments behind one door: ``/api/...`` is the first one's, ``/<name>/api/...`` that of the one so named.

They share a process and a port, and nothing else: each has its data folder, functions, workers, environment variables,
log, limits and mode.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from tornado.httputil import HTTPMessageDelegate, HTTPServerRequest
from tornado.routing import Router
from tornado.web import Application

from nbreactive.errors import InvalidValue

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,39}", re.ASCII)
_TAKEN = frozenset(("api", "http", "version", "instance_version", "instance_name", "echo"))
"""What addresses of a deployment itself begin with."""


def check_name(name: str) -> str:
    """Return ``name`` if a deployment can be called so.

    Examples
    --------
    >>> check_name("staging")
    'staging'
    """
    if not _NAME.fullmatch(name) or name in _TAKEN:
        raise InvalidValue(
            f"a deployment cannot be called {name[:60]!a}: its name is at most 40 letters, digits, '-' and '_', begins"
            f" with a letter, and is none of {', '.join(sorted(_TAKEN))}"
        )
    return name


def check_names(names: Sequence[str]) -> None:
    """Refuse two deployments of one name."""
    for name in names:
        if names.count(name) > 1:
            raise InvalidValue(f"two deployments are called {name!a}; each needs a name of its own")


class Deployments(Router):
    """Passes a request on to the deployment that its address names.

    Parameters
    ----------
    main
        Answers where none is named.
    others
        By name.
    """

    def __init__(self, main: Application, others: Mapping[str, Application]) -> None:
        self._main = main
        self._others = others

    def find_handler(self, request: HTTPServerRequest, **kwargs: Any) -> HTTPMessageDelegate | None:
        """Find the application, and let it see the address without the name."""
        name, slash, _ = request.path[1:].partition("/")
        application = self._others.get(name) if slash else None
        if application is None:
            return self._main.find_handler(request, **kwargs)
        request.path = request.path[1 + len(name) :]
        assert request.uri is not None
        request.uri = request.uri[1 + len(name) :]
        return application.find_handler(request, **kwargs)
