"""Names of functions: ``module:name``, as ``chat:send`` or ``admin/users:list``; they are never translated."""

from __future__ import annotations

import keyword
import re

from nbreactive.values.limits import IDENTIFIER, over

PACKAGE = "reactive"
"""The package that deployed modules are imported as: ``reactive.chat``."""
DEFAULT = "default"
BUILT_IN = "nbreactive"
"""Modules that are there without a deploy begin with it."""

_identifier = re.compile(r"[A-Za-z][A-Za-z0-9_]*", re.ASCII).fullmatch


def function_path(module: str, name: str) -> str:
    """Return the path of an export of a module, given as ``admin/users`` or as ``reactive.admin.users``.

    Examples
    --------
    >>> function_path("reactive.admin.users", "list")
    'admin/users:list'
    """
    return f"{module.removeprefix(PACKAGE + '.').replace('.', '/')}:{name}"


def canonical_path(path: str) -> str:
    """Return the one spelling of a path that clients may spell in several ways.

    A path that no function can have comes back as it is: looking it up fails like any other unknown one.

    Examples
    --------
    >>> [canonical_path(p) for p in ("chat", "chat:default", "chat.js:send", "chat:send")]
    ['chat:default', 'chat:default', 'chat:send', 'chat:send']
    """
    module, _, name = path.partition(":")
    module = module.removesuffix(".js").removesuffix(".ts").removesuffix(".py")
    return f"{module}:{name or DEFAULT}"


def identifier_problem(name: str, what: str) -> str:
    r"""Return why ``name`` cannot be the name of a function, table or index, or an empty string.

    Examples
    --------
    >>> identifier_problem("posts", "a table")
    ''
    >>> identifier_problem("_posts", "a table")
    'the name of a table cannot be \'_posts\': names that start with "_" are the system\'s; rename it'
    """
    start = f"the name of {what} cannot be {name[:80]!a}:"
    if name.startswith("_"):
        return f'{start} names that start with "_" are the system\'s; rename it'
    if not _identifier(name):
        return f'{start} it is made of letters, digits and "_", and starts with a letter; rename it'
    if len(name) > IDENTIFIER:
        return over(f"characters in the name of {what}", len(name), IDENTIFIER, "use a shorter one")
    return ""


def module_problem(module: str) -> str:
    """Return why ``module`` (``chat``, ``admin/users``) cannot be the name of a module, or an empty string.

    Examples
    --------
    >>> module_problem("admin/users"), module_problem("../etc") != ""
    ('', True)
    """
    if module.partition("/")[0] == BUILT_IN:
        return f"the name of a module cannot be {module[:80]!a}: {BUILT_IN}/... is what every deployment has; rename it"
    for part in module.split("/"):
        problem = identifier_problem(part, "a module")
        if problem:
            return problem
        if keyword.iskeyword(part):
            return (
                f"the name of a module cannot be {part!r}: that is a word of Python's own, so that neither api.{part} nor"
                f" reactive.{part} could be written; rename it, e.g. to {part}_"
            )
    return ""
