"""The guide's convex/files.ts."""

# ruff: noqa: A001, A002, F821

from nbreactive import Id, mutation, query, v


@mutation
def generateUploadUrl(ctx):
    return ctx.storage.generate_upload_url()


@mutation(args={"storageId": v.id("_storage"), "name": v.string(), "type": v.string()})
def saveFile(ctx, storageId, name, type):
    return ctx.db.insert("files", {"storageId": storageId, "name": name, "type": type, "uploadedAt": ctx.now()})


@query
def getFileUrl(ctx, fileId: Id["files"]):
    file = ctx.db.get(fileId)
    if not file:
        return None
    return ctx.storage.get_url(file["storageId"])


# ---- for the tests --------------------------------------------------------------------------------------------


@query
def list(ctx):
    return ctx.db.query("files").collect()


@mutation
def remove(ctx, name: str):
    for file in ctx.db.query("files"):
        if file["name"] == name:
            ctx.storage.delete(file["storageId"])
