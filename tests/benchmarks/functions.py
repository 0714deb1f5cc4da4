"""The server functions that the benchmarks call."""

import ctypes
import os
import time

from nbreactive import define_schema, define_table, mutation, query, v

schema = define_schema(
    {
        "messages": define_table(
            {"author": v.string(), "body": v.string(), "timestamp": v.number()},
        )
        .index("by_author", ["author"])
        .index("by_timestamp", ["timestamp"]),
        "beats": define_table({"session": v.string(), "at": v.number()}, ephemeral=True).index(
            "by_session", ["session"]
        ),
        "counters": define_table({"name": v.string(), "value": v.integer()}).index("by_name", ["name"]),
    }
)


@query
def ping(ctx):
    return "pong"


@query
def latest(ctx, limit: int = 100):
    return ctx.db.query("messages").order("desc").take(limit)


@query
def by_author(ctx, author: str):
    return ctx.db.query("messages").with_index("by_author", lambda q: q.eq("author", author)).order("desc").take(20)


@query
def newest(ctx, author: str, marker: int = 0):
    found = ctx.db.query("messages").with_index("by_author", lambda q: q.eq("author", author)).order("desc").first()
    return {"marker": marker, "body": found and found["body"]}


@query
def total(ctx):
    return ctx.db.query("messages").count()


@query
def totals(ctx, times: int):
    for _ in range(times):
        ctx.db.query("messages").count()
    return times


@mutation
def send(ctx, author: str, body: str):
    return ctx.db.insert("messages", {"author": author, "body": body, "timestamp": ctx.now()})


@mutation
def beat(ctx, room: str, session: str):
    found = ctx.db.query("beats").with_index("by_session", lambda q: q.eq("session", session)).first()
    if found is None:
        ctx.db.insert("beats", {"session": session, "at": ctx.now()})
    else:
        ctx.db.patch(found["_id"], {"at": ctx.now()})


@mutation
def fill(ctx, first: int, many: int):
    for number in range(first, first + many):
        ctx.db.insert(
            "messages",
            {"author": f"author{number % 1000}", "body": f"message {number} of the benchmark", "timestamp": number},
        )


@mutation
def schedule(ctx, first: int, many: int, when: float):
    for number in range(first, first + many):
        ctx.scheduler.run_at(when, "bench:send", author="job", body=f"job {number}")


@query
def pending(ctx):
    jobs = ctx.db.system.query("_scheduled_functions")
    return jobs.with_index("by_state", lambda q: q.eq("state.kind", "pending")).count()


@query
def by_job(ctx):
    return ctx.db.query("messages").with_index("by_author", lambda q: q.eq("author", "job")).count()


@mutation
def bump(ctx, name: str):
    found = ctx.db.query("counters").with_index("by_name", lambda q: q.eq("name", name)).unique()
    if found is None:
        ctx.db.insert("counters", {"name": name, "value": 1})
        return 1
    ctx.db.patch(found["_id"], {"value": found["value"] + 1})
    return found["value"] + 1


@query
def counter(ctx, name: str):
    found = ctx.db.query("counters").with_index("by_name", lambda q: q.eq("name", name)).unique()
    return found["value"] if found else 0


def _misbehave(ctx, how: str):
    if how == "sleep":
        time.sleep(60)
    if how == "memory":
        return len(bytearray(10 * 1024**3))
    if how == "segfault":
        ctypes.string_at(0)
    if how == "exit":
        os._exit(3)
    while True:
        pass


# Sixteen of them: a function that was killed five times within a minute is not run for a while.
for _number in range(16):
    globals()[f"misbehave_{_number}"] = mutation(name=f"misbehave_{_number}")(_misbehave)
