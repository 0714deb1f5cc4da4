"""The guide's schema, with the tables and indexes that its functions use and its schema lacks."""

from nbreactive import define_schema, define_table, v

schema = define_schema(
    {
        "messages": define_table({"author": v.string(), "body": v.string(), "timestamp": v.number()}).index(
            "by_timestamp", ["timestamp"]
        ),
        "users": define_table({"name": v.string(), "email": v.string()}).index("by_email", ["email"]),
        "posts": define_table(
            {
                "title": v.string(),
                "content": v.string(),
                # The guide's client creates posts without an author.
                "authorId": v.optional(v.id("users")),
                "createdAt": v.number(),
                "updatedAt": v.optional(v.number()),
                "deletedAt": v.optional(v.number()),
                "likes": v.integer(),
            }
        )
        .index("by_author", ["authorId"])
        .search_index("search_title_content", search_field="title"),
        "notifications": define_table({"type": v.string(), "postId": v.id("posts"), "timestamp": v.number()}),
        "documents": define_table(
            {
                "content": v.string(),
                "lastEditedBy": v.optional(v.string()),
                "lastEditedAt": v.optional(v.number()),
                "version": v.optional(v.integer()),
            }
        ),
        "presence": define_table(
            {
                "documentId": v.id("documents"),
                # A string: what the guide's client sends is 'current-user-id', which is the id of no document.
                "userId": v.string(),
                # The guide's client shows user.name; its presence has none.
                "name": v.string(),
                "cursor": v.optional(v.object({"x": v.number(), "y": v.number()})),
                "lastSeen": v.number(),
            }
        )
        .index("by_document", ["documentId"])
        .index("by_user_document", ["userId", "documentId"]),
        "files": define_table(
            {"storageId": v.id("_storage"), "name": v.string(), "type": v.string(), "uploadedAt": v.number()}
        ),
        "edits": define_table(
            {"documentId": v.id("documents"), "userId": v.string(), "content": v.string(), "timestamp": v.number()}
        ),
    }
)
