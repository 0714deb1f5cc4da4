"""What the conformance tests deploy."""

from tests.served import Served

MODULE = """
from nbreactive import AppError, action, api, mutation, query


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


@query
def page(ctx, paginationOpts):
    return ctx.db.query("notes").paginate(paginationOpts)


@query
def whoami(ctx):
    identity = ctx.auth.get_user_identity()
    return identity and identity["subject"]


@mutation
def add_when_told(ctx, text: str, pipe: str):
    ctx.db.insert("notes", {"text": text})
    with open(pipe) as told:  # Returns when somebody has opened the other end, and read() when they have closed it.
        told.read()
    return text


@action
def fetch(ctx, text: str, pipe: str):
    ctx.run_mutation(api.conform.add, text=f"{text}: begun")
    with open(pipe) as told:
        told.read()
    ctx.run_mutation(api.conform.add, text=f"{text}: ended")
    return ctx.run_query(api.conform.echo, x=text)


@action
def refuse_outside(ctx, why: str):
    print("refusing", why)
    raise AppError({"code": "REFUSED", "why": why})


@mutation
def drop(ctx, text: str):
    ctx.db.delete(ctx.db.query("notes").filter(lambda q: q.field("text") == text).first()["_id"])
"""


def texts(backend: Served) -> list[str]:
    """What was added, in order."""
    return [document["text"] for document in backend.call("query", "conform:list")]
