"""Queries and mutations see one instant, seeded randomness, and no way to act on the world.

:func:`install` is called once per process, before user code is imported. It puts wrappers around the clocks of
:mod:`time` and :mod:`datetime`, the generators of :mod:`random`, :mod:`uuid` and :mod:`os`, and around the start of
threads, and adds an audit hook for what else Python announces: sockets, subprocesses, opening files for writing,
changing the file system. All of them ask for the instant of the running call: without one (imports, the worker itself) they do
nothing. :mod:`nbreactive.runtime.imports` keeps imports inside of calls out of all this.

+----------------------------------------------+-------------------------+----------------------------+
| what                                         | in a query              | in a mutation              |
+==============================================+=========================+============================+
| ``time.*``, ``datetime.now``, ``date.today`` | the instant ``ctx.now()`` says; it stands still      |
+----------------------------------------------+-------------------------+----------------------------+
| ``random.*``, ``uuid.uuid1/uuid4``, numpy's  | seeded by the call                                   |
| global generator, ``random.Random()``        |                                                      |
+----------------------------------------------+-------------------------+----------------------------+
| ``secrets``, ``os.urandom``, unseeded        | NotAllowed              | real                       |
| ``numpy.random.default_rng()``               |                         |                            |
+----------------------------------------------+-------------------------+----------------------------+
| sockets, threads, subprocesses, ``os.fork``, | NotAllowed                                           |
| writing, moving and deleting files           |                                                      |
+----------------------------------------------+-------------------------+----------------------------+
| reading files, imports, ``time.sleep``       | allowed (sleeping counts as time used)               |
+----------------------------------------------+-------------------------+----------------------------+

Limits, on purpose: this keeps honest code repeatable, it is no sandbox. Clocks and generators inside C extensions
(``numpy.datetime64("now")``, ``polars.Expr.sample``), native threads of libraries, a ``random.Random()`` made at import
time, and whatever :mod:`ctypes` can reach are not covered.
"""

from __future__ import annotations

import time
from typing import Final

from nbreactive.runtime._clocks import install_clocks
from nbreactive.runtime._forbidden import install_refusals
from nbreactive.runtime._instant import Instant, frozen
from nbreactive.runtime._randomness import install_numpy, install_random
from nbreactive.runtime.imports import install_imports

__all__ = ["Instant", "frozen", "install", "install_numpy", "real_monotonic"]

real_monotonic: Final = time.monotonic
"""For the worker's own use."""

_installed = False


def install() -> None:
    """Put the wrappers in place; once per process, for good."""
    global _installed  # noqa: PLW0603
    if _installed:
        return
    _installed = True
    install_clocks()
    install_random()
    install_imports()
    install_refusals()
