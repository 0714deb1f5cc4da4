/** Cells as tab separated values, which spreadsheets take. */

import type { Cells, Column } from './columns';
import { textOf, wholeText } from './formats';

/** Rows at most that are copied at once. */
export const MOST = 100_000;

export function tsv(rows: readonly Cells[], columns: readonly Column[]): string {
  return rows.map(row => columns.map(column => field(valueText(row[column.at], column))).join('\t')).join('\n');
}

/** Moments as people read them; everything else as exactly as it is known. */
function valueText(value: unknown, column: Column): string {
  const moment = (column.kind === 'datetime' || column.kind === 'naive') && typeof value === 'number';
  return moment ? textOf(value, { ...column, format: 'ms' }) : wholeText(value);
}

function field(text: string): string {
  return /["\t\n\r]/.test(text) ? `"${text.replace(/"/g, '""')}"` : text;
}
