"""What somebody most likely meant whose arguments do not fit: pages are asked for in a way of their own."""

from __future__ import annotations

from nbreactive.client.calls import dotted
from nbreactive.errors import ArgumentError, NBReactiveError

_OPTIONS = "paginationOpts"


def with_hint(path: str, error: NBReactiveError, *, pages: bool = False) -> NBReactiveError:
    """Return the error of a call, with the fix where pages and single results were mixed up.

    Parameters
    ----------
    path
        What was called.
    error
        What the backend said.
    pages
        Whether it was made live page by page.
    """
    if not isinstance(error, ArgumentError):
        return error
    name, said = dotted(path), error.message
    if pages and "no argument 'page_size'" in said:
        hint = f"page_size is an option: use_paginated_query({name}.options(page_size=20), ...)"
    elif pages and f"no argument '{_OPTIONS}'" in said:
        hint = (
            f"{name} does not read pages: make it live as a whole, use_query({name}, ...), or give it a parameter "
            'opts: PaginationOpts and return ctx.db.query("posts").paginate(opts)'
        )
    elif not pages and f"args.{_OPTIONS}: is missing" in said:
        hint = (
            f"{name} reads a page at a time: use_paginated_query({name}, ...) makes it live, and "
            f"{name}({_OPTIONS}=PaginationOpts(20), ...) reads one page"
        )
    else:
        return error
    error.args = (f"{said}\n{hint}",)
    return error
