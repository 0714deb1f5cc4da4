/** What a table is told to show, and how it says that it stands. */

import { isRecord } from '../../records';
import type { Frame } from '../windows';
import { readFormats } from './columns';
import { readField, type Field } from './parsing';
import { readMode, type Key, type Mode } from './selection';

export type Status = 'loading' | 'live' | 'reconnecting' | 'error' | 'closed' | 'snapshot' | 'signed out' | 'gone';

/** Whether there are more rows to load, and whether they are being loaded. */
export type More = '' | 'more' | 'loading';

/** Rows that did not change should be the same arrays as before: then only what changed is looked at. */
export interface TableData {
  columns: readonly string[];
  rows: readonly (readonly unknown[])[];
  /** How many rows there are; `rows` may hold fewer. */
  total: number;
  /** What the columns are (see `Kind`), where that is known. */
  kinds?: readonly string[];
  /** The rows are the fields of one document. */
  document?: boolean;
}

/** What a user may do with a table beside looking at it. */
export interface Options {
  /** The fields that may be edited (`*`: all but those of the system); null: none of them. */
  readonly edit: Readonly<Record<string, Field>> | null;
  readonly selection: Mode;
  readonly selected: readonly Key[];
  readonly formats: Readonly<Record<string, string>>;
  /** Of the rows, in pixels, at most; 0: as the style sheet has it. */
  readonly height: number;
}

export interface LiveState {
  table: TableData;
  status: Status;
  message: string;
  title: string;
  badge: string;
  dimmed: boolean;
  /** When the rows were last right, in ms since the epoch; 0 when unknown. */
  updated: number;
  more: More;
  /** A result of SQL, of which the first rows are here; it is shown in the place of `table`. */
  frame: Frame | null;
  /** The part of it that is looked at, where that is not among the first rows. */
  window: Frame | null;
  options: Options;
}

export const ANY_FIELD = '*';

const PLAIN: Options = { edit: null, selection: 'none', selected: [], formats: {}, height: 0 };

export const EMPTY: LiveState = {
  table: { columns: [], rows: [], total: 0 },
  status: 'loading',
  message: '',
  title: '',
  badge: '',
  dimmed: false,
  updated: 0,
  more: '',
  frame: null,
  window: null,
  options: PLAIN,
};

/** Options as a kernel says them. */
export function readOptions(said: unknown, selected: unknown): Options {
  if (!isRecord(said)) {
    return PLAIN;
  }
  const fields = isRecord(said.edit) && isRecord(said.edit.fields) ? said.edit.fields : null;
  return {
    edit: fields && Object.fromEntries(Object.entries(fields).map(([name, field]) => [name, readField(field)])),
    selection: readMode(said.selection),
    selected: Array.isArray(selected) ? (selected as Key[]) : [],
    formats: readFormats(said.formats),
    height: typeof said.height === 'number' && said.height > 0 ? said.height : 0,
  };
}

const rowsText = (n: number) => `${n.toLocaleString('en')} ${n === 1 ? 'row' : 'rows'}`;

export function describeCount({ rows, total, document }: TableData): string {
  if (document) {
    return '1 document';
  }
  return total > rows.length ? `first ${rows.length.toLocaleString('en')} of ${rowsText(total)}` : rowsText(rows.length);
}

export function describeFrame({ total, columns }: Frame): string {
  return `${rowsText(total)} × ${columns.length.toLocaleString('en')} ${columns.length === 1 ? 'column' : 'columns'}`;
}

export function describeFiltered(shown: number, all: number): string {
  return `${shown.toLocaleString('en')} of ${rowsText(all)}`;
}

export function describeStatus(status: Status, updated: number, now: number = Date.now()): string {
  const since = updated > 0 ? describeTime(updated, now) : '';
  switch (status) {
    case 'snapshot':
      return since ? `snapshot of ${since}` : 'snapshot';
    case 'loading':
      return since ? 'updating' : 'loading';
    case 'live':
      return status;
    default:
      return since ? `${status}, rows of ${since}` : status;
  }
}

/** "12:03" today, else with its date. */
export function describeTime(ms: number, now: number): string {
  const when = new Date(ms);
  const pad = (n: number) => String(n).padStart(2, '0');
  const clock = `${pad(when.getHours())}:${pad(when.getMinutes())}`;
  const day = `${when.getFullYear()}-${pad(when.getMonth() + 1)}-${pad(when.getDate())}`;
  return when.toDateString() === new Date(now).toDateString() ? clock : `${day} ${clock}`;
}
