"""The guide's convex/search.ts. Names are as the guide has them."""

from nbreactive import query, v


@query(args={"query": v.string()})
def searchPosts(ctx, query):
    return ctx.db.query("posts").with_search_index("search_title_content", lambda q: q.search("title", query)).collect()
