"""What the conformance tests deploy."""

MODULE = """
from nbreactive import AppError, mutation, query


@query
def list(ctx):
    return ctx.db.query("notes").collect()


@query
def total(ctx):
    return ctx.db.query("notes").count()


@query
def echo(ctx, x=None):
    return x


@query
def values(ctx):
    return [document["value"] for document in ctx.db.query("values").collect()]


@mutation
def keep(ctx, value):
    return ctx.db.insert("values", {"value": value})


@mutation
def add(ctx, text: str):
    print("adding", text)
    ctx.db.insert("notes", {"text": text})
    return text


@mutation
def refuse(ctx, why: str):
    raise AppError({"code": "REFUSED", "why": why})


@mutation
def crash(ctx):
    raise ValueError("no good")


@query
def refuse_large(ctx, limit: int):
    found = ctx.db.query("notes").count()
    if found > limit:
        raise AppError({"code": "TOO_MANY", "found": found})
    return found


@query
def large(ctx, size: int):
    return "x" * size + str(ctx.db.query("notes").count())
"""
