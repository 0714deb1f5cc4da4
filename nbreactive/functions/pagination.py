"""Pagination as functions see it: what a page is asked for with, and what comes back.

Both are dicts in the form in which they travel, ``numItems`` and ``continueCursor`` included, with Python's names as
attributes. As hints they say all there is to say: a parameter hinted :class:`PaginationOpts` is the argument
``paginationOpts``, which Convex's clients send, whatever the parameter is called::

    @query
    def list(ctx, opts: PaginationOpts, author: str) -> PaginationResult[Post]:
        return ctx.db.query("posts").with_index("by_author", lambda q: q.eq("author", author)).paginate(opts)
"""

from __future__ import annotations

from typing import Any, Final, Generic, Literal, TypeVar

from nbreactive.values.validators import ObjectValidator, UnionValidator, Validator, v

ARGUMENT: Final = "paginationOpts"
"""The name under which the options travel."""

PageStatus = Literal["SplitRecommended", "SplitRequired"]
Item = TypeVar("Item")


class PaginationOpts(dict[str, Any]):
    """Which page is wanted.

    Parameters
    ----------
    num_items
        How many documents a new page has, if there are as many.
    cursor
        Where it begins: the ``continue_cursor`` of the page before, None for the first one.
    end_cursor
        Where it ends, however many documents that are; pages that were split have it.
    maximum_rows_read, maximum_bytes_read
        How much is read for it at most, those documents included that a filter drops.

    Examples
    --------
    >>> PaginationOpts(20)
    {'numItems': 20, 'cursor': None}
    >>> PaginationOpts(20, maximum_rows_read=500).num_items
    20
    """

    def __init__(
        self,
        num_items: int,
        cursor: str | None = None,
        *,
        end_cursor: str | None = None,
        maximum_rows_read: int | None = None,
        maximum_bytes_read: int | None = None,
    ) -> None:
        optional = {
            "endCursor": end_cursor,
            "maximumRowsRead": maximum_rows_read,
            "maximumBytesRead": maximum_bytes_read,
        }
        given = {name: value for name, value in optional.items() if value is not None}
        super().__init__({"numItems": num_items, "cursor": cursor} | given)

    @property
    def num_items(self) -> int:
        """How many documents a new page has."""
        return self["numItems"]

    @property
    def cursor(self) -> str | None:
        """Where it begins; None: at the beginning."""
        return self["cursor"]

    @property
    def end_cursor(self) -> str | None:
        """Where it ends, if that is given."""
        return self.get("endCursor")

    @property
    def maximum_rows_read(self) -> int | None:
        """How many documents are read for it at most."""
        return self.get("maximumRowsRead")

    @property
    def maximum_bytes_read(self) -> int | None:
        """How many bytes are read for it at most."""
        return self.get("maximumBytesRead")


class PaginationResult(dict[str, Any], Generic[Item]):
    """One page, and the cursor of the next.

    Examples
    --------
    >>> result = PaginationResult(page=[1, 2], isDone=True, continueCursor="c", splitCursor=None, pageStatus=None)
    >>> result.page, result.is_done
    ([1, 2], True)
    >>> result.page = [n * 10 for n in result.page]
    >>> result["page"]
    [10, 20]
    """

    @property
    def page(self) -> list[Item]:
        """The documents; may be replaced by what is made of them."""
        return self["page"]

    @page.setter
    def page(self, items: list[Any]) -> None:
        self["page"] = items

    @property
    def is_done(self) -> bool:
        """Whether there are no more."""
        return self["isDone"]

    @property
    def continue_cursor(self) -> str:
        """The ``cursor`` of the next page."""
        return self["continueCursor"]

    @property
    def split_cursor(self) -> str | None:
        """A place in the middle, to load two smaller pages instead; None where there is nothing to split."""
        return self.get("splitCursor")

    @property
    def page_status(self) -> PageStatus | None:
        """``SplitRecommended`` for a large page; ``SplitRequired`` for one that was too large to be read to its end."""
        return self.get("pageStatus")


def _options(**fields: Any) -> PaginationOpts:
    options = PaginationOpts.__new__(PaginationOpts)
    options.update(fields)
    return options


pagination_opts_validator: Final = ObjectValidator(
    {
        "numItems": v.integer(),
        "cursor": v.nullable(v.string()),
        "endCursor": v.optional(v.nullable(v.string())),
        "id": v.optional(v.number()),
        "maximumRowsRead": v.optional(v.integer()),
        "maximumBytesRead": v.optional(v.integer()),
    },
    factory=_options,
)
"""The validator of the options; ``id`` keeps apart those who paginate the same query, and means nothing else."""


def pagination_result_validator(item: Validator) -> ObjectValidator:
    """Return the validator of what ``.paginate()`` returns, for pages of ``item``.

    Examples
    --------
    >>> pagination_result_validator(v.string()).fields["page"]
    v.array(v.string())
    """
    status: UnionValidator = v.union(v.literal("SplitRecommended"), v.literal("SplitRequired"), v.null())
    fields = {
        "page": v.array(item),
        "isDone": v.boolean(),
        "continueCursor": v.string(),
        "splitCursor": v.optional(v.nullable(v.string())),
        "pageStatus": v.optional(status),
    }
    return ObjectValidator(fields, factory=PaginationResult)


def takes_options(validator: Validator) -> bool:
    """Whether a validator is that of :class:`PaginationOpts`, for a parameter with or without a default."""
    return isinstance(validator, ObjectValidator) and validator.factory is _options
