"""The guide's convex/posts.ts, and what its client calls that is not in there: ``like``. Names are as the guide has them."""

# ruff: noqa: A001, F821

from nbreactive import UNSET, AppError, Id, PaginationOpts, mutation, query


@query
def get(ctx, postId: Id["posts"]):
    post = ctx.db.get(postId)
    if post is None:
        raise AppError("Post not found")
    author = ctx.db.get(post["authorId"]) if "authorId" in post else None
    return {**post, "author": author}


@query
def list(ctx, paginationOpts: PaginationOpts):
    return ctx.db.query("posts").order("desc").paginate(paginationOpts)


@mutation
def create(ctx, title: str, content: str, authorId: Id["users"] = UNSET):
    if title.startswith("refused"):
        raise AppError("this title is taken")
    post = {"title": title, "content": content, "authorId": authorId, "createdAt": ctx.now(), "likes": 0}
    postId = ctx.db.insert("posts", post)
    ctx.db.insert("notifications", {"type": "new_post", "postId": postId, "timestamp": ctx.now()})
    return postId


@mutation
def update(ctx, postId: Id["posts"], title: str = UNSET, content: str = UNSET, **updates):
    ctx.db.patch(postId, {**updates, "updatedAt": ctx.now()})


@mutation
def deletePost(ctx, postId: Id["posts"]):
    ctx.db.patch(postId, {"deletedAt": ctx.now()})


@mutation
def like(ctx, postId: Id["posts"], refuse: bool = False):
    ctx.db.patch(postId, {"likes": ctx.db.get(postId)["likes"] + 1})
    if refuse:
        raise AppError("one like too many")


# ---- for the tests --------------------------------------------------------------------------------------------


@query
def titles(ctx):
    return [post["title"] for post in ctx.db.query("posts").order("desc")]


@mutation
def fill(ctx, count: int):
    for number in range(count):
        ctx.db.insert("posts", {"title": f"post {number}", "content": "", "createdAt": ctx.now(), "likes": 0})


@mutation
def remove(ctx, title: str):
    """Hard, so that a page shrinks; the guide's deletePost only marks."""
    ctx.db.delete(ctx.db.query("posts").filter(lambda q: q.field("title") == title).unique()["_id"])
