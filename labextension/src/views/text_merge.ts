/**
 * Three versions of a text made into one: what two people have changed since they had the same text, word by word.
 *
 * Where both have changed the same words in different ways there is no merge, and `merge` says so: nothing is ever
 * dropped or mixed within a word.
 */

/** So many pieces from `at` on give way to others. */
export interface Hunk {
  readonly at: number;
  readonly removed: number;
  readonly added: readonly string[];
}

/** Words, and single characters of everything else: Chinese and the like are merged by character. */
const PIECES = /[\p{Script=Latin}\p{Script=Hangul}\p{Script=Cyrillic}\p{Script=Greek}\p{N}_]+|[^]/gu;
/** Texts that differ in more places are compared as one changed stretch. */
const MOST_CHANGES = 400;

export function pieces(text: string): string[] {
  return text.match(PIECES) ?? [];
}

/** The text with both changes; null if they are to the same words. */
export function merge(base: string, mine: string, theirs: string): string | null {
  if (mine === theirs || theirs === base) {
    return mine;
  }
  if (mine === base) {
    return theirs;
  }
  const from = pieces(base);
  const ours = diff(from, pieces(mine));
  const others = diff(from, pieces(theirs));
  const result: string[] = [];
  let at = 0;
  while (ours.length > 0 || others.length > 0) {
    const [mineNext, theirNext] = [ours[0], others[0]];
    if (mineNext && theirNext && overlap(mineNext, theirNext)) {
      if (JSON.stringify(mineNext) !== JSON.stringify(theirNext)) {
        return null;
      }
      ours.shift(); // both did the same
      continue;
    }
    // of two insertions at one place theirs, which everybody sees already, comes first
    const next = mineNext === undefined || (theirNext && before(theirNext, mineNext)) ? others.shift()! : ours.shift()!;
    result.push(...from.slice(at, next.at), ...next.added);
    at = next.at + next.removed;
  }
  return result.concat(from.slice(at)).join('');
}

function before(one: Hunk, other: Hunk): boolean {
  return one.at < other.at || (one.at === other.at && one.removed <= other.removed);
}

function overlap(one: Hunk, other: Hunk): boolean {
  if (one.removed === 0 && other.removed === 0) {
    return one.at === other.at && one.added.join('') === other.added.join('');
  }
  return one.at < other.at + other.removed && other.at < one.at + one.removed;
}

/** What has to be done to make one list of another: Myers' algorithm, on what is left between equal ends. */
export function diff(from: readonly string[], to: readonly string[]): Hunk[] {
  let start = 0;
  while (start < from.length && start < to.length && from[start] === to[start]) {
    start++;
  }
  let end = 0;
  while (end < from.length - start && end < to.length - start && from.at(-1 - end) === to.at(-1 - end)) {
    end++;
  }
  const a = from.slice(start, from.length - end);
  const b = to.slice(start, to.length - end);
  if (a.length === 0 && b.length === 0) {
    return [];
  }
  const hunks = myers(a, b) ?? [{ at: 0, removed: a.length, added: b }];
  return hunks.map(hunk => ({ ...hunk, at: hunk.at + start }));
}

function myers(a: readonly string[], b: readonly string[]): Hunk[] | null {
  const trace: Map<number, number>[] = [];
  let furthest = new Map<number, number>([[1, 0]]);
  for (let changes = 0; changes <= Math.min(a.length + b.length, MOST_CHANGES); changes++) {
    trace.push(furthest);
    const next = new Map(furthest);
    for (let k = -changes; k <= changes; k += 2) {
      const down = k === -changes || (k !== changes && (furthest.get(k - 1) ?? -1) < (furthest.get(k + 1) ?? -1));
      let x = down ? (furthest.get(k + 1) ?? 0) : (furthest.get(k - 1) ?? 0) + 1;
      while (x < a.length && x - k < b.length && a[x] === b[x - k]) {
        x++;
      }
      next.set(k, x);
      if (x >= a.length && x - k >= b.length) {
        return hunksOf(a, b, trace);
      }
    }
    furthest = next;
  }
  return null;
}

function hunksOf(a: readonly string[], b: readonly string[], trace: readonly Map<number, number>[]): Hunk[] {
  const steps: { at: number; insert: string | null }[] = [];
  let x = a.length;
  let y = b.length;
  for (let changes = trace.length - 1; changes > 0; changes--) {
    const furthest = trace[changes]!;
    const k = x - y;
    const down = k === -changes || (k !== changes && (furthest.get(k - 1) ?? -1) < (furthest.get(k + 1) ?? -1));
    const beforeK = down ? k + 1 : k - 1;
    const beforeX = furthest.get(beforeK) ?? 0;
    const beforeY = beforeX - beforeK;
    steps.push(down ? { at: beforeX, insert: b[beforeY]! } : { at: beforeX, insert: null });
    [x, y] = [beforeX, beforeY];
  }
  const hunks: { at: number; removed: number; added: string[] }[] = [];
  for (const { at, insert } of steps.reverse()) {
    const last = hunks.at(-1);
    const hunk = last && last.at + last.removed === at ? last : { at, removed: 0, added: [] };
    if (hunk !== last) {
      hunks.push(hunk);
    }
    if (insert === null) {
      hunk.removed += 1;
    } else {
      hunk.added.push(insert);
    }
  }
  return hunks;
}

/** Where a place in one text is in another: a caret stays at its word. */
export function follow(from: string, to: string, offset: number): number {
  const parts = pieces(from);
  const ends: number[] = [0];
  parts.forEach(part => ends.push(ends.at(-1)! + part.length));
  let moved = offset;
  for (const { at, removed, added } of diff(parts, pieces(to))) {
    const begin = ends[at]!;
    const end = ends[at + removed]!;
    const length = added.reduce((sum, part) => sum + part.length, 0);
    if (end < offset || (end === offset && removed > 0)) {
      moved += length - (end - begin);
    } else if (begin < offset) {
      moved += Math.min(length, offset - begin) - (offset - begin); // inside of what has changed
    }
  }
  return Math.max(0, Math.min(moved, to.length));
}
