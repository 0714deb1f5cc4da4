"""The guide's convex/messages.ts."""

# ruff: noqa: A001

from nbreactive import mutation, query


@query
def list(ctx):
    return ctx.db.query("messages").order("desc").take(100)


@mutation
def send(ctx, author: str, body: str):
    ctx.db.insert("messages", {"author": author, "body": body, "timestamp": ctx.now()})
