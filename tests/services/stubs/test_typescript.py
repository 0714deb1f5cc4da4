"""What TypeScript finds in files of clients that use the official package with the generated types: exactly the mistakes."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.services.stubs.project import deploy, expected, has_node, tsc

GOOD = """
import { ConvexClient, ConvexHttpClient } from "convex/browser";
import { api, internal } from "./reactive/_generated/api";
import type { DataModel, Doc, Id, TableNames } from "./reactive/_generated/dataModel";

declare const post: Id<"posts">;
declare const user: Id<"users">;
const http = new ConvexHttpClient("http://127.0.0.1:1");
const live = new ConvexClient("http://127.0.0.1:1");

export async function calls(): Promise<number> {
  const found = await http.query(api.posts.get, { post_id: post });
  const title: string | undefined = found?.title;
  const cover: { width: number; from: string } | undefined = found?.cover;
  const added: Id<"posts"> = await http.mutation(api.posts.add, { title: title ?? "", author_id: user, tags: ["a"] });
  const big: bigint = await http.mutation(api.posts.import, { from: 1, to: { "a-b": new ArrayBuffer(1) } });
  await http.mutation(api.posts.deletePost, { self: "x", str: "y" });
  const short: string = await http.action(api.posts.summarize, { post_id: added });
  const anything: Record<string, number> = await http.query(api.posts.live, { from: "x" });
  const names: string[] = await http.query(api.posts.titles, {});
  await http.query(api.posts.titles);
  const listed: Doc<"posts">[] = await http.query(api.posts.list, { order: "asc", author_id: null });
  const n: number = await http.query(api.admin.default, { n: 1 });
  await http.query(api.admin.users.list);
  live.onUpdate(api.posts.list, { limit: 2 }, (posts) => posts[0]!.likes.toFixed());
  void [big, short, anything, names, listed, cover, internal.posts.like];
  return n;
}
export function documents(event: Doc<"events">, any: Doc<"anything">, author: Doc<"users">): number {
  const role: "admin" | "writer" = author.role;
  const index: DataModel["posts"]["indexes"]["by_author"] = ["author_id", "_creationTime"];
  const search: DataModel["posts"]["searchIndexes"]["words"]["filterFields"] = "likes";
  const field: DataModel["posts"]["searchIndexes"]["words"]["searchField"] = "title";
  const table: TableNames = "posts";
  void [role, index, search, field, table];
  return event.kind === "a" ? event.n : any.whatever;
}
"""
BAD = """
import { ConvexClient, ConvexHttpClient } from "convex/browser";
import { api, internal } from "./reactive/_generated/api";
import type { Doc, Id } from "./reactive/_generated/dataModel";

declare const post: Id<"posts">;
declare const user: Id<"users">;
const http = new ConvexHttpClient("http://127.0.0.1:1");
const live = new ConvexClient("http://127.0.0.1:1");
void http.mutation(api.posts.add, { title: 1, author_id: user }); // error: TS2322
void http.mutation(api.posts.add, { title: "x", author: user }); // error: TS2353
void http.mutation(api.posts.add, { title: "x" }); // error: TS2345
void http.query(api.posts.get, { post_id: user }); // error: TS2322
void http.query(api.posts.get, { post_id: "text" }); // error: TS2322
void http.query(api.posts.list, { order: "up" }); // error: TS2322
void http.query(api.posts.titles, { limit: 3 }); // error: TS2322
void http.mutation(api.posts.titles, {}); // error: TS2345
void http.query(internal.posts.like, { post_id: post, by: 1 }); // error: TS2345
void http.query(api.posts.like, { post_id: post, by: 1 }); // error: TS2339
void http.query(api.chat.list); // error: TS2339
live.onUpdate(api.posts.list, { limit: "many" }, () => {}); // error: TS2322
export const number: Promise<number> = http.query(api.posts.titles); // error: TS2322
export const field = (event: Doc<"events">) => event.n; // error: TS2339
export type Missing = Doc<"comments">; // error: TS2344
"""


@pytest.mark.slow
@pytest.mark.skipif(not has_node(), reason="needs node, npm, and the front end's TypeScript")
def test_tsc_finds_the_mistakes_and_nothing_else(tmp_path: Path) -> None:
    project = deploy(tmp_path)
    (project / "good.ts").write_text(GOOD)
    (project / "bad.ts").write_text(BAD)
    assert tsc(project) == {"bad.ts": expected(BAD, "// error: ")}
    # What the types describe is there at run time.
    script = """
        import { getFunctionName } from "convex/server";
        import { api, internal } from "./reactive/_generated/api.js";
        console.log(JSON.stringify([api.admin.users.list, internal.posts.like, api.posts.import].map(getFunctionName)));
    """
    (project / "package.json").write_text('{"type": "module"}')
    (project / "names.mjs").write_text(script)
    done = subprocess.run(["node", "names.mjs"], cwd=project, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == ["admin/users:list", "posts:like", "posts:import"]
