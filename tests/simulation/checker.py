"""Is this history strictly serializable?

Transactions are nodes. An edge says "must come before":

- ww: it wrote a version, the other the next one of the same key;
- wr: it wrote the version that the other has read;
- rw: it has read a version, the other wrote the next one;
- real time: it had ended before the other began.

The history is strictly serializable exactly if there is no cycle. Who wrote what, and in which order, is told by unique
values and by the order of versions (of the log, or of read-modify-write chains).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise, zip_longest

Name = Hashable


@dataclass(frozen=True)
class Committed:
    """A transaction that has happened."""

    name: Name
    reads: Mapping[Hashable, Name | None] = field(default_factory=dict)
    """Key to the transaction that wrote the version that was read; None is the state before everything."""
    start: float = float("-inf")
    """When somebody first asked for it."""
    end: float = float("inf")
    """When the answer was known; never, for one whose answer got lost."""


def find_cycle(transactions: Iterable[Committed], versions: Mapping[Hashable, Sequence[Name]]) -> list[Name] | None:
    """Return transactions that must each come before the next, and the last before the first; None if all is well.

    Parameters
    ----------
    transactions
        All that have happened.
    versions
        Key to the transactions that wrote it, in order.
    """
    transactions = list(transactions)
    edges: dict[Name, list[Name]] = {transaction.name: [] for transaction in transactions}
    after: dict[Hashable, dict[Name | None, Name]] = {}
    for key, writers in versions.items():
        chain: list[Name | None] = [None, *writers]
        after[key] = dict(zip(chain, writers, strict=False))
        for earlier, later in pairwise(writers):
            edges[earlier].append(later)
    for transaction in transactions:
        for key, writer in transaction.reads.items():
            if writer is not None and writer != transaction.name:
                edges[writer].append(transaction.name)
            overwriter = after.get(key, {}).get(writer)
            if overwriter is not None and overwriter != transaction.name:
                edges[transaction.name].append(overwriter)
    _add_real_time(transactions, edges)
    cycle = _cycle(edges)
    return None if cycle is None else [name for name in cycle if not isinstance(name, _Moment)]


@dataclass(frozen=True)
class _Moment:
    at: float


def _add_real_time(transactions: Sequence[Committed], edges: dict[Name, list[Name]]) -> None:
    # Through a chain of moments, so that there are as many edges as transactions, not their square.
    ends = sorted({transaction.end for transaction in transactions if transaction.end != float("inf")})
    for moment, following in zip_longest(ends, ends[1:]):
        edges[_Moment(moment)] = [] if following is None else [_Moment(following)]
    for transaction in transactions:
        if transaction.end != float("inf"):
            edges[transaction.name].append(_Moment(transaction.end))
        before = bisect_left(ends, transaction.start)
        if before:
            edges[_Moment(ends[before - 1])].append(transaction.name)


def _cycle(edges: Mapping[Name, Sequence[Name]]) -> list[Name] | None:
    done: set[Name] = set()
    for root in edges:
        if root in done:
            continue
        path: list[Name] = [root]
        on_path = {root}
        stack = [iter(edges[root])]
        while stack:
            for name in stack[-1]:
                if name in on_path:
                    return path[path.index(name) :]
                if name not in done:
                    path.append(name)
                    on_path.add(name)
                    stack.append(iter(edges[name]))
                    break
            else:
                stack.pop()
                name = path.pop()
                on_path.discard(name)
                done.add(name)
    return None
