"""Who has read this key? Interval maps: from an index key to the owners of the intervals that hold it.

One map per index. Single keys (reads by id, counters, table names) are a dictionary; wider intervals are a treap
ordered by their bounds, in which every node knows the greatest upper bound below it, so a lookup costs
O(log n + hits). Equal intervals share one node, however many owners they have.

Owners are kept in the order of arrival (dictionaries, not sets), so that the same history gives the same order.
"""

from __future__ import annotations

import random
from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Generic, TypeVar

from nbreactive.engine.transactions import Reads

Owner = TypeVar("Owner", bound=Hashable)


class _Node(Generic[Owner]):
    __slots__ = ("high", "left", "low", "owners", "rank", "right", "top")

    def __init__(self, low: bytes, high: bytes, rank: float) -> None:
        self.low = low
        self.high = high
        self.top = high
        self.rank = rank
        self.left: _Node[Owner] | None = None
        self.right: _Node[Owner] | None = None
        self.owners: dict[Owner, None] = {}


class IntervalMap(Generic[Owner]):
    """Half-open intervals with owners; the same owner may hold many intervals, each of them once."""

    __slots__ = ("_points", "_random", "_root")

    def __init__(self) -> None:
        self._points: dict[bytes, dict[Owner, None]] = {}
        self._root: _Node[Owner] | None = None
        # The shape of the treap must not depend on keys, which users choose.
        self._random = random.Random(0)

    def __bool__(self) -> bool:
        return bool(self._points) or self._root is not None

    def add(self, low: bytes, high: bytes, owner: Owner) -> None:
        """Let ``owner`` hold ``[low, high)``."""
        if _is_point(low, high):
            self._points.setdefault(low, {})[owner] = None
            return
        node = self._find(low, high)
        if node is None:
            node = _Node[Owner](low, high, self._random.random())
            self._root = _insert(self._root, node)
        node.owners[owner] = None

    def remove(self, low: bytes, high: bytes, owner: Owner) -> None:
        """Undo :meth:`add`; nothing happens when ``owner`` does not hold that interval."""
        if _is_point(low, high):
            owners = self._points.get(low)
            if owners is not None:
                owners.pop(owner, None)
                if not owners:
                    del self._points[low]
            return
        node = self._find(low, high)
        if node is not None:
            node.owners.pop(owner, None)
            if not node.owners:
                self._root = _remove(self._root, low, high)

    def stab(self, key: bytes) -> Iterator[Owner]:
        """Yield the owners of every interval that holds ``key``; one that holds it twice comes twice."""
        yield from self._points.get(key, ())
        stack = [self._root]
        while stack:
            node = stack.pop()
            if node is None or key >= node.top:
                continue
            if key >= node.low:
                stack.append(node.right)
                if key < node.high:
                    yield from node.owners
            stack.append(node.left)

    def _find(self, low: bytes, high: bytes) -> _Node[Owner] | None:
        node = self._root
        while node is not None:
            if low == node.low and high == node.high:
                return node
            node = node.left if (low, high) < (node.low, node.high) else node.right
        return None


class ReadSetMap(Generic[Owner]):
    """Owners of whole read sets, over all indexes."""

    __slots__ = ("_maps",)

    def __init__(self) -> None:
        self._maps: dict[int, IntervalMap[Owner]] = {}

    def add(self, reads: Reads, owner: Owner) -> None:
        """Let ``owner`` be found by everything that touches ``reads``."""
        for index_id, intervals in reads.items():
            found = self._maps.get(index_id)
            if found is None:
                found = self._maps[index_id] = IntervalMap()
            for low, high in intervals:
                found.add(low, high, owner)

    def remove(self, reads: Reads, owner: Owner) -> None:
        """Undo :meth:`add` of the same read set."""
        for index_id, intervals in reads.items():
            found = self._maps.get(index_id)
            if found is None:
                continue
            for low, high in intervals:
                found.remove(low, high, owner)
            if not found:
                del self._maps[index_id]

    def touched(self, keys: Mapping[int, Sequence[bytes]]) -> dict[Owner, None]:
        """Owners whose read set holds any of ``keys`` (index id -> keys)."""
        owners: dict[Owner, None] = {}
        for index_id, written in keys.items():
            found = self._maps.get(index_id)
            if found is not None:
                for key in written:
                    for owner in found.stab(key):
                        owners[owner] = None
        return owners


def _is_point(low: bytes, high: bytes) -> bool:
    return len(high) == len(low) + 1 and high[-1] == 0 and high.startswith(low)


def _insert(root: _Node[Owner] | None, node: _Node[Owner]) -> _Node[Owner]:
    if root is None:
        return node
    if node.rank < root.rank:
        node.left, node.right = _split(root, node.low, node.high)
        _refresh(node)
        return node
    if (node.low, node.high) < (root.low, root.high):
        root.left = _insert(root.left, node)
    else:
        root.right = _insert(root.right, node)
    root.top = max(root.top, node.high)
    return root


def _split(root: _Node[Owner] | None, low: bytes, high: bytes) -> tuple[_Node[Owner] | None, _Node[Owner] | None]:
    """Cut a treap into the nodes before and the nodes after ``(low, high)``."""
    if root is None:
        return None, None
    if (root.low, root.high) < (low, high):
        root.right, after = _split(root.right, low, high)
        _refresh(root)
        return root, after
    before, root.left = _split(root.left, low, high)
    _refresh(root)
    return before, root


def _remove(root: _Node[Owner] | None, low: bytes, high: bytes) -> _Node[Owner] | None:
    if root is None:
        return None
    if low == root.low and high == root.high:
        return _join(root.left, root.right)
    if (low, high) < (root.low, root.high):
        root.left = _remove(root.left, low, high)
    else:
        root.right = _remove(root.right, low, high)
    _refresh(root)
    return root


def _join(before: _Node[Owner] | None, after: _Node[Owner] | None) -> _Node[Owner] | None:
    if before is None or after is None:
        return before or after
    if before.rank < after.rank:
        before.right = _join(before.right, after)
        _refresh(before)
        return before
    after.left = _join(before, after.left)
    _refresh(after)
    return after


def _refresh(node: _Node[Owner]) -> None:
    top = node.high
    if node.left is not None and node.left.top > top:
        top = node.left.top
    if node.right is not None and node.right.top > top:
        top = node.right.top
    node.top = top
