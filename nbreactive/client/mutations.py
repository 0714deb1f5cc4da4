"""Mutations to be called again and again, with optimistic updates."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar, overload

from nbreactive.client.arguments import path_of
from nbreactive.client.optimistic import Update
from nbreactive.client.pending import PendingCall
from nbreactive.errors import ArgumentError, NBReactiveError

if TYPE_CHECKING:
    from nbreactive.client.typed import CallLike, Untyped

P = ParamSpec("P")
R = TypeVar("R")


class BoundMutation(Generic[P, R]):
    """A mutation as a function.

    Call it to wait for its result, ``.start(...)`` it to go on at once, ``await`` its ``.aio(...)`` in async code.
    """

    def __init__(self, ref: Any, update: Update | None = None) -> None:
        self.path = path_of(ref)
        self._update = update

    def with_optimistic_update(self, update: Update, /) -> BoundMutation[P, R]:
        """Return the same mutation with an update of live queries, which shows its effect before the server answers.

        Parameters
        ----------
        update
            Called as ``update(store, args)`` on the ``nbreactive`` thread, when the mutation starts and again on
            everything new from the server until that has the mutation's effect: it has to give the same for the same
            data. If the mutation fails, its effect is gone. If the update raises, so does the call, and nothing is sent.

        Examples
        --------
        >>> def liked(store, args):
        ...     post = store.get_query(api.posts.get, post_id=args["post_id"])
        ...     if post:
        ...         store.set_query(api.posts.get, args, {**post, "likes": post["likes"] + 1})
        >>> like = use_mutation(api.posts.like).with_optimistic_update(liked)       # doctest: +SKIP
        >>> like(post_id=post)       # doctest: +SKIP
        """
        if self._update is not None:
            raise ArgumentError(f"{self.path} has an optimistic update already: let one function do all of it.")
        if not callable(update):
            raise ArgumentError(f"An optimistic update is a function of (store, args), not a {type(update).__name__}.")
        if inspect.iscoroutinefunction(update):
            raise ArgumentError(
                f"The optimistic update of {self.path} is asynchronous; it has to be done when it returns: "
                "use def instead of async def, without await."
            )
        return BoundMutation(self.path, update)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run it and return its result."""
        client = _current()
        if self._update is None:
            return client.call(self.path, self._one(args, kwargs), mutation=True)
        client.check_thread(f"{self.path}(...)")
        started = self.start(*args, **kwargs)
        try:
            return started.result()
        except NBReactiveError as error:
            raise error.with_traceback(None) from None  # the user's lines, and not our own

    def start(self, *args: P.args, **kwargs: P.kwargs) -> PendingCall[R]:
        """Run it without waiting: a button's callback, which would hold the kernel up, is done at once.

        Mutations that are started one after the other run in that order. A failure that nobody asks the returned
        future for is written into the log.
        """
        return _current().start(self.path, self._one(args, kwargs), self._update)

    async def aio(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run it without blocking the caller's loop."""
        return await _current().aio(self.path, self._one(args, kwargs), self._update, mutation=True)

    def _one(self, given: tuple[object, ...], args: dict[str, Any]) -> Mapping[str, Any]:
        from nbreactive.functions.references import keywords_of

        return keywords_of(self.path, given, args)

    def __repr__(self) -> str:
        return f"<mutation {self.path}{' with an optimistic update' if self._update is not None else ''}>"


@overload
def use_mutation(ref: Untyped, /) -> BoundMutation[..., Any]: ...
@overload
def use_mutation(ref: CallLike[P, R], /) -> BoundMutation[P, R]: ...
def use_mutation(ref: Any, /) -> BoundMutation[..., Any]:
    """Return a mutation as a function: ``like = use_mutation(api.posts.like); like(post_id=...)``.

    With ``.with_optimistic_update(...)`` live queries show what it will do before the server has answered.
    """
    return BoundMutation(ref)


def _current() -> Any:
    from nbreactive.client import current

    return current()
