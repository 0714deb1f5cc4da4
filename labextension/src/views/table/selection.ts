/** Which rows are selected, by their keys; and the cell that the keyboard is at, with the cells up to where a range began. */

import type { Rows } from './rows';

export type Mode = 'none' | 'one' | 'many';
export type Key = string | number;

export interface Cell {
  /** -1 is the header. */
  readonly row: number;
  readonly column: number;
  readonly key?: Key | undefined;
}

export function readMode(said: unknown): Mode {
  return said === 'one' || said === 'many' ? said : 'none';
}

export class RowSelection {
  mode: Mode = 'none';
  private _keys = new Set<Key>();
  /** Where a range of rows begins. */
  private _from: Key | undefined;

  constructor(private readonly _changed: (keys: Key[]) => void) {}

  get size(): number {
    return this._keys.size;
  }

  has(key: Key | undefined): boolean {
    return key !== undefined && this._keys.has(key);
  }

  /** What somebody else has selected. */
  set(keys: readonly unknown[]): void {
    this._keys = new Set(keys.filter(key => typeof key === 'string' || typeof key === 'number'));
  }

  only(key: Key | undefined): void {
    if (this.mode !== 'none' && key !== undefined && !(this._keys.size === 1 && this._keys.has(key))) {
      this._keys = new Set([key]);
      this._tell();
    }
    this._from = key;
  }

  toggle(key: Key | undefined): void {
    if (this.mode === 'none' || key === undefined) {
      return;
    }
    const had = this._keys.delete(key);
    if (!had) {
      this._keys = this.mode === 'one' ? new Set([key]) : this._keys.add(key);
    }
    this._from = key;
    this._tell();
  }

  /** Select from where the last one was selected to a row. */
  extend(rows: Rows, to: number): void {
    const from = this._from === undefined ? -1 : rows.find(this._from);
    if (this.mode !== 'many' || from < 0) {
      this.only(rows.keyOf(to));
      return;
    }
    this._keys = new Set();
    for (let at = Math.min(from, to); at <= Math.max(from, to); at++) {
      const key = rows.keyOf(at);
      if (key !== undefined) {
        this._keys.add(key);
      }
    }
    this._tell();
  }

  /** All that are shown; none, if they are. */
  toggleAll(rows: Rows): void {
    if (this.mode !== 'many') {
      return;
    }
    const all = Array.from({ length: rows.count }, (_, at) => rows.keyOf(at)).filter(key => key !== undefined);
    this._keys = new Set(all.every(key => this._keys.has(key)) ? [] : all);
    this._tell();
  }

  private _tell(): void {
    this._changed([...this._keys]);
  }
}

/** The cells between two: rows and columns, both ends included. */
export function rangeOf(one: Cell, other: Cell): { top: number; bottom: number; left: number; right: number } {
  return {
    top: Math.min(one.row, other.row),
    bottom: Math.max(one.row, other.row),
    left: Math.min(one.column, other.column),
    right: Math.max(one.column, other.column),
  };
}
