/**
 * The rows of a table as they are looked at: all of them, here in the page, sorted and filtered; or a window of very many.
 *
 * Local rows are given as a whole each time; those that did not change are the same arrays as before. So a change of a few
 * rows among 100,000 costs what these few cost: nothing is sorted or filtered again.
 */

import type { Cells, Column } from './columns';
import { anywhere, condition, type Test } from './filtering';
import { sortKey, type SortKey } from './formats';
import { merged, sorted, type Sort } from './sorting';
import type { Frame } from '../windows';

/** Changed rows beyond which everything is sorted anew. */
const FEW = 2_000;

export class Rows {
  /** Whether all rows are here: only then can they be sorted and filtered. */
  local = true;
  /** How many rows there are before filters. */
  total = 0;
  sort: Sort | null = null;
  search = '';
  readonly conditions = new Map<string, string>();
  private _columns: readonly Column[] = [];
  private _rows: readonly Cells[] = [];
  private _base: Frame | null = null;
  private _window: Frame | null = null;
  /** Positions of the rows that are shown; null: all, as they are. */
  private _order: number[] | null = null;
  private _key = -1;

  setLocal(columns: readonly Column[], rows: readonly Cells[]): void {
    const before = this._rows;
    const fresh = !this.local || columns !== this._columns;
    this.local = true;
    this._setColumns(columns);
    this._rows = rows;
    this._base = this._window = null;
    this.total = rows.length;
    if (fresh || this._order === null) {
      this.arrange();
    } else {
      this._follow(before);
    }
  }

  setWindowed(columns: readonly Column[], base: Frame, window: Frame | null): void {
    this.local = false;
    this._setColumns(columns);
    this._rows = [];
    this._order = null;
    this._base = base;
    this._window = window;
    this.total = (window ?? base).total;
  }

  private _setColumns(columns: readonly Column[]): void {
    this._columns = columns;
    this._key = columns.findIndex(({ name }) => name === '_id');
  }

  get count(): number {
    return this._order?.length ?? this.total;
  }

  /** The part of a large result that is here. */
  get window(): Frame | null {
    return this._window;
  }

  get filtered(): boolean {
    return this.local && (this.search.trim() !== '' || this.conditions.size > 0);
  }

  /** The row at a place of what is shown; undefined if it is not here. */
  row(at: number): Cells | undefined {
    if (this.local) {
      return this._rows[this._order === null ? at : (this._order[at] ?? -1)];
    }
    return this._window?.rows[at - this._window.offset] ?? this._base!.rows[at - this._base!.offset];
  }

  /** By what a row is known among others: its `_id`, or else where it stands in the result. */
  keyOf(at: number): string | number | undefined {
    const row = this.row(at);
    if (row === undefined) {
      return undefined;
    }
    const id = row[this._key];
    return typeof id === 'string' ? id : this._order === null ? at : this._order[at];
  }

  /** Where the row of a key is now; `near` is looked at first. */
  find(key: string | number, near = 0): number {
    if (this.keyOf(near) === key) {
      return near;
    }
    for (let at = 0; at < (this.local ? this.count : 0); at++) {
      if (this.keyOf(at) === key) {
        return at;
      }
    }
    return -1;
  }

  /** The row of a key, also where a filter hides it. */
  byKey(key: string | number): Cells | undefined {
    const rows = this.local ? this._rows : (this._window?.rows ?? this._base?.rows ?? []);
    return typeof key === 'number' ? this._rows[key] : rows.find(row => row[this._key] === key);
  }

  /** Sort and filter anew. */
  arrange(): void {
    const tests = this._tests();
    const by = this._by();
    if (!this.local || (tests.length === 0 && by === null)) {
      this._order = null;
      return;
    }
    const positions: number[] = [];
    for (let at = 0; at < this._rows.length; at++) {
      if (tests.every(test => test(this._rows[at]!))) {
        positions.push(at);
      }
    }
    this._order = by === null ? positions : sorted(positions, by.key, by.descending);
  }

  /** Take over what has changed. */
  private _follow(before: readonly Cells[]): void {
    const { places, added } = compareRows(before, this._rows);
    if (added.length > FEW) {
      this.arrange();
      return;
    }
    const tests = this._tests();
    const by = this._by();
    const kept: number[] = [];
    for (const at of this._order!) {
      const place = places === null ? at : places[at]!;
      if (place >= 0) {
        kept.push(place);
      }
    }
    if (by === null) {
      kept.sort((one, other) => one - other);
    }
    const fresh = added.filter(at => tests.every(test => test(this._rows[at]!)));
    const key = by?.key ?? (() => null); // by place alone
    this._order = merged(kept, sorted(fresh, key, by?.descending ?? false), key, by?.descending ?? false);
  }

  private _tests(): Test[] {
    const named = (name: string) => this._columns.find(column => column.name === name);
    return [
      anywhere(this.search, this._columns),
      ...[...this.conditions].map(([name, text]) => {
        const column = named(name);
        return column ? condition(text, column) : null;
      }),
    ].filter(test => test !== null);
  }

  private _by(): { key: (at: number) => SortKey; descending: boolean } | null {
    const column = this._columns.find(({ name }) => name === this.sort?.column);
    if (this.sort === null || column === undefined) {
      return null;
    }
    return { key: at => sortKey(this._rows[at]![column.at], column), descending: this.sort.descending };
  }
}

/** Where the rows of before are now (-1: gone or changed; null: all where they were), and which ones are new. */
function compareRows(
  before: readonly Cells[],
  now: readonly Cells[],
): { places: Int32Array | null; added: number[] } {
  const added: number[] = [];
  if (before === now) {
    return { places: null, added };
  }
  const places = new Int32Array(before.length).fill(-1);
  if (before.length === now.length) {
    for (let at = 0; at < now.length; at++) {
      if (before[at] === now[at]) {
        places[at] = at;
      } else {
        added.push(at);
      }
    }
    if (added.length <= FEW) {
      return { places, added };
    }
    added.length = 0;
    places.fill(-1);
  }
  let start = 0;
  while (start < before.length && start < now.length && before[start] === now[start]) {
    places[start] = start;
    start++;
  }
  let [end, last] = [before.length, now.length];
  while (end > start && last > start && before[end - 1] === now[last - 1]) {
    places[--end] = --last;
  }
  const known = new Map<Cells, number>();
  for (let at = start; at < end; at++) {
    known.set(before[at]!, at);
  }
  for (let at = start; at < last; at++) {
    const place = known.get(now[at]!);
    if (place === undefined) {
      added.push(at);
    } else {
      places[place] = at;
    }
  }
  return { places, added };
}
