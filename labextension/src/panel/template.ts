/** A new notebook that is live from its first cell on: a module, a call, a live result. */

import type { Say } from './page';

const DEPLOY = `%%reactive deploy notes
from nbreactive import define_schema, define_table, mutation, query, v

schema = define_schema({
    "notes": define_table({"text": v.string(), "done": v.boolean()}).index("by_done", ["done"]),
})

@query
def newest(ctx, limit: int = 20):
    return ctx.db.query("notes").order("desc").take(limit)

@mutation
def add(ctx, text: str):
    return ctx.db.insert("notes", {"text": text, "done": False})`;

export function liveNotebook(say: Say, kernel: string, kernelTitle: string, language: string): object {
  const cells: readonly (readonly ['markdown' | 'code', string])[] = [
    ['markdown', say('# A live notebook\n\nWhat is stored here is shared with whoever uses this server, and every view follows it.')],
    ['code', '%load_ext nbreactive\nfrom nbreactive import api'],
    ['code', DEPLOY],
    ['code', 'api.notes.newest.live()'],
    ['code', 'api.notes.add(text="hello")'],
  ];
  return {
    nbformat: 4,
    nbformat_minor: 5,
    metadata: {
      kernelspec: { name: kernel, display_name: kernelTitle, language },
      language_info: { name: language },
    },
    cells: cells.map(([kind, source], i) => ({
      cell_type: kind,
      id: `live-${i}`,
      metadata: {},
      source,
      ...(kind === 'code' ? { execution_count: null, outputs: [] } : {}),
    })),
  };
}
