"""What an optimistic update works on: the results of live queries as this client shows them now.

Values that are read are copies, and values that are set are copied: whatever an update does with them, the results
that the server sent stay as they are.
"""

# Values come from anywhere, so their types are not known before.
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

from nbreactive.client.arguments import SKIP, path_of, to_value
from nbreactive.client.protocol import Outcome, encode_args
from nbreactive.errors import ArgumentError, NotAllowed
from nbreactive.values.checks import check_value
from nbreactive.values.json import decode_json
from nbreactive.values.kinds import UNSET
from nbreactive.values.limits import RESULT_ITEMS

Key = tuple[str, str]
"""A live query: its function's path (of one as of an earlier time: with ``@`` and that time) and the text of its arguments."""
Results = dict[Key, Outcome | None]
"""What live queries give; None while the first result is still to come."""


class LocalQuery(NamedTuple):
    """A live query of this client; ``value`` is UNSET while there is no result."""

    args: dict[str, Any]
    value: Any


class LocalStore:
    """The results that an optimistic update may read and change.

    Examples
    --------
    >>> def one_more(store, args):
    ...     post = store.get_query(api.posts.get, post_id=args["post_id"])
    ...     if post:
    ...         post["likes"] += 1
    ...         store.set_query(api.posts.get, {"post_id": args["post_id"]}, post)
    >>> like = use_mutation(api.posts.like).with_optimistic_update(one_more)       # doctest: +SKIP
    """

    def __init__(self, shown: Mapping[Key, Outcome | None]) -> None:
        self._shown = shown
        self._closed = False
        self.changes: Results = {}
        """What was set."""

    def get_query(self, ref: Any, args: Mapping[str, Any] | None = None, /, **named: Any) -> Any:
        """Return a copy of what the query with these arguments shows; UNSET if it has no result, or is not live here.

        The arguments have to be those that the live query was made with.
        """
        self._check_open()
        if args is not None and named:
            raise ArgumentError("get_query(ref, ...) takes keywords or one dict, not both.")
        return _value_of(self._find(key_of(ref, named if args is None else args)))

    def get_all_queries(self, ref: Any, /) -> list[LocalQuery]:
        """Return every live query of this function, whatever its arguments: ``.args``, and ``.value`` as a copy."""
        self._check_open()
        path = path_of(ref)
        keys = [key for key in {**self._shown, **self.changes} if key[0] == path]
        return [LocalQuery(decode_json(key[1]), _value_of(self._find(key))) for key in keys]

    def set_query(self, ref: Any, args: Mapping[str, Any], value: Any, /) -> None:
        """Let the query with these arguments show ``value``; UNSET lets it show that it is loading."""
        self._check_open()
        key = key_of(ref, args)
        if value is UNSET:
            self.changes[key] = None
            return
        checked = check_value(value, "value", max_items=RESULT_ITEMS, datetimes=True)
        below = self._find(key)
        self.changes[key] = (
            Outcome(value=checked) if below is None else dataclasses.replace(below, value=checked, error=None, logs=())
        )

    def close(self) -> None:
        """The update has returned: what it kept of the store is of no use any more."""
        self._closed = True

    def _find(self, key: Key) -> Outcome | None:
        return self.changes[key] if key in self.changes else self._shown.get(key)

    def _check_open(self) -> None:
        if self._closed:
            raise NotAllowed(
                "This store belongs to an optimistic update that has returned; updates are done when they return: "
                "do all of it inside, without threads, async or callbacks."
            )


def key_of(ref: Any, args: Mapping[str, Any]) -> Key:
    """Return the key of the live query of ``ref`` with these arguments."""
    plain = {name: to_value(value, name) for name, value in args.items()}
    if any(value is SKIP for value in plain.values()):
        raise ArgumentError("SKIP pauses live queries; a query that is paused shows nothing new.")
    return path_of(ref), encode_args(plain)


def copy_value(value: Any) -> Any:
    """Return a value that can be changed without changing the other."""
    kind = type(value)
    if kind is dict:
        return {key: copy_value(item) for key, item in value.items()}
    if kind is list:
        return [copy_value(item) for item in value]
    return value


def same_value(one: Any, other: Any) -> bool:
    """Tell whether two values cannot be told apart: of equal types, their fields in equal order."""
    if one is other:
        return True
    kind = type(one)
    if kind is not type(other):
        return False
    if kind is dict:
        return list(one) == list(other) and all(map(same_value, one.values(), other.values()))
    if kind is list:
        return len(one) == len(other) and all(map(same_value, one, other))
    return one == other


def _value_of(outcome: Outcome | None) -> Any:
    """Return a copy of what is shown; what failed is as if it was still loading, which updates deal with anyway."""
    return UNSET if outcome is None or outcome.error is not None else copy_value(outcome.value)
