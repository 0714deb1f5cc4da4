"""Which live vector searches a commit concerns: those for which a new vector is as near as the last one they found.

All searches of an index stand in one matrix, so a new vector is compared with all of them in one product.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from nbreactive.engine._numpy import np
from nbreactive.engine._vector_search import margin
from nbreactive.engine.applied import AppliedState
from nbreactive.engine.read_set import point
from nbreactive.engine.transactions import Nearest
from nbreactive.engine.vector_store import Entered
from nbreactive.engine.vector_values import CODE_BYTES, STATE

if TYPE_CHECKING:
    from numpy.typing import NDArray

Owner = TypeVar("Owner")

_FLOAT: Final = 4
_FEWEST: Final = 16


class NearestJudge(Generic[Owner]):
    """The live searches of one vector index.

    Parameters
    ----------
    state
        Where its vectors are.
    index
        Its id.
    """

    def __init__(self, state: AppliedState, index: int) -> None:
        self._state = state
        self._index = index
        self._places: dict[tuple[int, Owner], list[int]] = {}
        self._searches: dict[int, tuple[Nearest, Owner]] = {}
        self._free: list[int] = []
        self._vectors: NDArray[np.float32] = np.zeros((0, 0), np.float32)
        self._least: NDArray[np.float64] = np.zeros(0)

    def __len__(self) -> int:
        return len(self._searches)

    def add(self, interest: Nearest, owner: Owner) -> None:
        """Let ``owner`` be found by what concerns its search."""
        dimensions = len(interest.vector) // _FLOAT
        if not self._free:
            self._grow(dimensions)
        place = self._free.pop()
        self._searches[place] = interest, owner
        self._places.setdefault((id(interest), owner), []).append(place)
        if dimensions == self._vectors.shape[1]:
            self._vectors[place] = np.frombuffer(interest.vector, "<f4")
            self._least[place] = interest.score - margin(dimensions)
        else:  # of a definition that is gone, or no vector at all: everything concerns it
            self._vectors[place] = 0
            self._least[place] = -math.inf

    def remove(self, interest: Nearest, owner: Owner) -> None:
        """Undo :meth:`add`."""
        places = self._places.get((id(interest), owner))
        if not places:
            return
        place = places.pop()
        if not places:
            del self._places[id(interest), owner]
        del self._searches[place]
        self._least[place] = math.inf
        self._free.append(place)

    def concerned(self, ts: int, keys: Sequence[bytes]) -> Iterable[Owner]:
        """Whom a commit concerns."""
        entered = None if STATE in keys else self._entered(ts - 1, ts)
        if entered is None:
            return [owner for _, owner in self._searches.values()]
        found: dict[int, None] = {}
        for vector in entered:
            wide = self._vectors.shape[1] == len(vector.data) // _FLOAT
            rough = self._vectors @ np.frombuffer(vector.data, "<f4") if wide else np.full(len(self._least), math.inf)
            for place in np.flatnonzero(rough >= self._least).tolist():
                if place in self._searches and _holds(vector.codes, self._searches[place][0].filters):
                    found[place] = None
        return [self._searches[place][1] for place in found]

    def untouched(self, interest: Nearest, low: int, high: int) -> bool | None:
        """Whether commits do not concern a search."""
        touch = self._state.changes.first_touch({self._index: [point(STATE)]}, low)
        if touch is not None and touch.ts <= high:
            return False
        entered = self._entered(low, high)
        if entered is None:
            return None
        wanted = np.frombuffer(interest.vector, "<f4") if len(interest.vector) % _FLOAT == 0 else None
        for vector in entered:
            if _holds(vector.codes, interest.filters):
                found = np.frombuffer(vector.data, "<f4")
                if wanted is None or len(found) != len(wanted):
                    return False
                if float(found @ wanted) >= interest.score - margin(len(wanted)):
                    return False
        return True

    def _entered(self, low: int, high: int) -> list[Entered] | None:
        return self._state.index.vectors.entered(self._index, low, high)

    def _grow(self, dimensions: int) -> None:
        old = len(self._least)
        new = max(_FEWEST, 2 * old)
        vectors = np.zeros((new, self._vectors.shape[1] if old else dimensions), np.float32)
        if old:
            vectors[:old] = self._vectors
        least = np.full(new, math.inf)
        least[:old] = self._least
        self._vectors, self._least = vectors, least
        self._free += range(new - 1, old - 1, -1)


def _holds(codes: bytes, filters: Sequence[tuple[int, bytes]]) -> bool:
    if not filters:
        return True
    return any(codes[CODE_BYTES * position : CODE_BYTES * (position + 1)] == code for position, code in filters)
