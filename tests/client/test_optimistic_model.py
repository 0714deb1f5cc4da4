"""Whatever the interleaving: no view shows an item twice or drops an applied one, and in the end all is the server's."""

from __future__ import annotations

import asyncio
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.client.model_world import World, listed

STEPS = [
    "begin", "begin", "client", "client", "client", "user", "user", "server_takes", "server_takes", "server_runs", "server_runs",
    "server_answers", "server_shows", "server_shows", "network", "network", "network", "others", "others", "others", "others", "more", "disconnect", "connect",
    "connect", "forget_cursors",
]  # fmt: skip


def operation(world: World, number: int, fail: bool, mine: bool = False) -> dict[str, Any]:
    """One change of the table, made of a number."""
    tags = sorted({*world.server.versions[world.server.ts], *(op["tag"] for op in world.begun.values())})
    kind = ("add", "add", "like", "remove")[number % 4]
    if kind == "add" or not tags:
        count = len(world.server.versions) + world.count + number % 97 / 100
        top = bool(number & (4 if mine else 12))
        # Only this client inserts on top, in the order in which its mutations run: that is what insert_at_top is for.
        key = (10_000.0 if mine else 1000.0) + 10 * count if top else 500.0 + number % 89 + count / 100
        return {"kind": "add", "tag": f"t{count:.2f}", "key": round(key, 4), "top": top, "fail": fail}
    return {"kind": kind, "tag": tags[number // 4 % len(tags)], "fail": fail}


async def play(steps: list[tuple[str, int]]) -> World:
    world = World()
    try:
        await take(world, steps)
    finally:
        await world.end()
    return world


async def take(world: World, steps: list[tuple[str, int]]) -> None:
    for number in (0, 4, 8, 12, 16, 20, 24):
        op = operation(world, number, fail=False)
        world.server.commit(op)
    for name, number in steps:
        if name == "begin":
            if world.count - len(world.ended) < 5:
                await world.begin(operation(world, number, fail=number % 5 == 0, mine=True))
        elif name == "others":
            world.server.commit(operation(world, number, fail=False))
        elif name == "more":
            world.pages.load_more(1 + number % 4, wait=False)
        elif name == "forget_cursors":
            world.server.salt += number % 8 == 0
        else:
            await getattr(world, name)()
    await world.quiet()
    truth = listed(world.server.versions[world.server.ts])
    assert world.pages_show(truth, world.gone)
    for _ in truth:
        world.pages.load_more(3, wait=False)
        await world.quiet()


@settings(max_examples=400, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 400)), min_size=20, max_size=150))
def test_every_view_is_a_version_with_what_is_under_way(steps: list[tuple[str, int]]) -> None:
    world = asyncio.run(play(steps))
    truth = listed(world.server.versions[world.server.ts])
    assert world.list.value == truth
    assert not world.subscriptions.layers.active
    assert sorted(world.ended) == list(range(world.count))
    assert world.pages.results == truth
    assert world.checked
