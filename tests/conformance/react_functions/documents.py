"""The guide's convex/documents.ts."""

# ruff: noqa: F821

from nbreactive import UNSET, Id, mutation, query, v


@query
def get(ctx, documentId: Id["documents"]):
    doc = ctx.db.get(documentId)
    activeUsers = (
        ctx.db.query("presence")
        .with_index("by_document", lambda q: q.eq("documentId", documentId))
        .filter(lambda q: q.gt(q.field("lastSeen"), ctx.now() - 30000))
        .collect()
    )
    return {**doc, "activeUsers": activeUsers}


@mutation
def updateContent(ctx, documentId: Id["documents"], content: str, userId: str):
    doc = ctx.db.get(documentId)
    ctx.db.patch(
        documentId,
        {
            "content": content,
            "lastEditedBy": _who(ctx, userId)[0],
            "lastEditedAt": ctx.now(),
            "version": doc.get("version", 0) + 1,
        },
    )
    ctx.db.insert(
        "edits",
        {"documentId": documentId, "userId": _who(ctx, userId)[0], "content": content, "timestamp": ctx.now()},
    )


@mutation(
    args={
        "documentId": v.id("documents"),
        "userId": v.string(),
        "cursor": v.optional(v.object({"x": v.number(), "y": v.number()})),
    }
)
def updatePresence(ctx, documentId, userId, cursor=UNSET):
    userId, name = _who(ctx, userId)
    existing = (
        ctx.db.query("presence")
        .with_index("by_user_document", lambda q: q.eq("userId", userId).eq("documentId", documentId))
        .first()
    )
    if existing:
        ctx.db.patch(existing["_id"], {"cursor": cursor, "lastSeen": ctx.now()})
    else:
        presence = {"documentId": documentId, "userId": userId, "name": name, "cursor": cursor, "lastSeen": ctx.now()}
        ctx.db.insert("presence", presence)


def _who(ctx, userId):
    """Id and name of who is signed in; of nobody in particular, what the client says (always 'current-user-id')."""
    identity = ctx.auth.get_user_identity()
    return (identity["subject"], identity["name"]) if identity else (userId, userId)


# ---- for the tests --------------------------------------------------------------------------------------------


@mutation
def create(ctx, content: str):
    return ctx.db.insert("documents", {"content": content})
