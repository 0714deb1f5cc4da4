/**
 * The rows of a table as the kernel tells them: all of them once, then what has changed.
 *
 * Rows that did not change stay the same arrays, by which a view knows that nothing about them is new.
 */

import { isRecord } from '../records';
import { readTable } from '../outputs/payload';
import type { TableData } from '../views/table';

export class TableRows {
  table: TableData = readTable(null);
  version = -1;

  /** Take over all rows. */
  whole(said: unknown): void {
    const kinds = isRecord(said) && Array.isArray(said.kinds) ? said.kinds.map(String) : undefined;
    this.table = { ...readTable(said), ...(kinds && { kinds }) };
    this.version = isRecord(said) && typeof said.version === 'number' ? said.version : -1;
  }

  /** Take over a change: runs of rows that were there, and those that are new after each; false if others are missing before it. */
  change(said: Record<string, unknown>): boolean {
    const { version, runs, total } = said;
    if (typeof version !== 'number' || version <= this.version) {
      return true;
    }
    if (version !== this.version + 1 || !Array.isArray(runs)) {
      return false;
    }
    const before = this.table.rows;
    const rows: (readonly unknown[])[] = [];
    for (const [start, count, fresh] of runs as [number, number, unknown[][]][]) {
      for (let at = start; at < start + count; at++) {
        if (before[at] === undefined) {
          return false;
        }
        rows.push(before[at]!);
      }
      for (const row of fresh) {
        rows.push(row);
      }
    }
    this.version = version;
    this.table = { ...this.table, rows, total: typeof total === 'number' ? Math.max(total, rows.length) : rows.length };
    return true;
  }
}
