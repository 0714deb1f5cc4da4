"""Interests: read sets that say more exactly what concerns a live query.

A read set says which keys of an index were looked at; anything that is written there concerns whoever read it. For some
reads that is far too much: nearly every new vector is further away than the ones that a search has found. Such a read
adds an interest to the outcome of its execution. All that it read of that index is then judged by interests alone: by
the :class:`Judge` of its kind, who looks at what a commit has written.

Interests decide only which live queries run again. A transaction that commits is validated by its read set.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Generic, Protocol, TypeVar

from nbreactive.engine.applied import AppliedState
from nbreactive.engine.changes import Keys
from nbreactive.engine.sql_interests import SqlJudge
from nbreactive.engine.transactions import Nearest, Reads, SqlInterest

Owner = TypeVar("Owner")

Interest = Nearest | SqlInterest
"""One of any kind; those of one index are all of one kind."""


class Judge(Protocol[Owner]):
    """Knows the interests of one kind in one index."""

    def add(self, interest: Any, owner: Owner) -> None:
        """Let ``owner`` be found by what concerns ``interest``."""
        ...

    def remove(self, interest: Any, owner: Owner) -> None:
        """Undo :meth:`add`."""
        ...

    def concerned(self, ts: int, keys: Sequence[bytes]) -> Iterable[Owner]:
        """Whom a commit that has touched ``keys`` of the index concerns."""
        ...

    def untouched(self, interest: Any, low: int, high: int) -> bool | None:
        """Whether commits after ``low`` and up to ``high`` do not concern an interest; None: that is not known any more."""
        ...

    def __len__(self) -> int: ...


class Interests(Generic[Owner]):
    """All interests of live queries.

    Parameters
    ----------
    state
        What commits are added to.
    """

    def __init__(self, state: AppliedState) -> None:
        self._state = state
        self._judges: dict[int, Judge[Owner]] = {}

    def add(self, interests: Sequence[Interest], owner: Owner) -> None:
        """Let ``owner`` be found by what concerns any of ``interests``."""
        for interest in interests:
            self._judge(interest).add(interest, owner)

    def remove(self, interests: Sequence[Interest], owner: Owner) -> None:
        """Undo :meth:`add`."""
        for interest in interests:
            judge = self._judge(interest)
            judge.remove(interest, owner)
            if not len(judge):
                del self._judges[interest.index]

    def touched(self, ts: int, keys: Keys) -> dict[Owner, None]:
        """Return whom the commit at ``ts`` concerns."""
        owners: dict[Owner, None] = {}
        for index, judge in self._judges.items():
            if index in keys:
                owners.update(dict.fromkeys(judge.concerned(ts, keys[index])))
        return owners

    def untouched(self, interests: Sequence[Interest], reads: Reads, low: int, high: int) -> bool:
        """Whether no commit after ``low`` and up to ``high`` concerns any of ``interests``, for all that is known."""
        changes = self._state.changes
        for interest in interests:
            if changes.last(interest.index) <= low:
                continue
            untouched = self._judge(interest).untouched(interest, low, high)
            if untouched is None:
                index = interest.index
                touch = changes.first_touch({index: reads.get(index, [])}, low)
                untouched = touch is None or touch.ts > high
            if not untouched:
                return False
        return True

    def _judge(self, interest: Interest) -> Judge[Owner]:
        judge = self._judges.get(interest.index)
        if judge is None:
            judge = self._judges[interest.index] = self._make(interest)
        return judge

    def _make(self, interest: Interest) -> Judge[Owner]:
        if isinstance(interest, SqlInterest):
            return SqlJudge[Owner](self._state, interest.index)
        from nbreactive.engine.vector_interests import NearestJudge

        return NearestJudge[Owner](self._state, interest.index)


def unrefined(reads: Reads, interests: Sequence[Interest]) -> Reads:
    """Return the part of a read set that no interest is about."""
    if not interests:
        return reads
    refined = {interest.index for interest in interests}
    return {index: intervals for index, intervals in reads.items() if index not in refined}
