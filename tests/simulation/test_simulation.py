"""Thousands of seeded worlds. ``NBREACTIVE_SEEDS`` sets how many, ``NBREACTIVE_SEED`` runs one of them again."""

from __future__ import annotations

import os

import pytest

from nbreactive.engine.committer import Commit, Committer
from nbreactive.engine.gate import Decided, Gate, Snapshot
from tests.simulation.virtual_loop import VirtualLoop, run_on
from tests.simulation.world import Violation, World

SEEDS = int(os.environ.get("NBREACTIVE_SEEDS", "2000"))
ONE = os.environ.get("NBREACTIVE_SEED")


def simulate(seed: int) -> World:
    loop = VirtualLoop()
    world = World(seed, loop)
    run_on(loop, world.run())
    return world


@pytest.mark.slow
def test_seeds() -> None:
    for seed in [int(ONE)] if ONE else range(SEEDS):
        try:
            simulate(seed)
        except BaseException:
            print(f"\nfailed with seed {seed}: run it again with NBREACTIVE_SEED={seed}")
            raise


def test_same_seed_gives_the_same_world() -> None:
    for seed in (3, 4):
        first, second = simulate(seed), simulate(seed)
        assert first.moment == second.moment
        assert first.shown == second.shown


def _is_caught(seeds: int) -> bool:
    for seed in range(seeds):
        try:
            simulate(seed)
        except Violation:
            return True
    return False


def test_missing_validation_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    def anything_goes(self: Committer, commit: Commit) -> None:
        return None

    monkeypatch.setattr(Committer, "validate", anything_goes)
    assert _is_caught(100)


def test_open_gate_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    async def release(self: Gate, snapshot: Snapshot) -> None:
        return None

    def when(self: Gate, snapshot: Snapshot, decided: Decided) -> None:
        decided(None)

    monkeypatch.setattr(Gate, "release", release)
    monkeypatch.setattr(Gate, "when", when)
    assert _is_caught(100)
