/**
 * Results of functions as tables, laid out as the kernel does (`nbreactive/notebook/cells.py` and `table_rows.py`; both sides are
 * tested with the same cases).
 *
 * Values come as on the wire. Those of documents stay so, for the table knows how to show them; everything else is made into
 * short, safe text here. Whatever somebody stored is shown as text and as nothing else.
 */

import type { Json } from '../connection/page';
import { isRecord } from '../records';
import { visible } from './sql_values';
import type { TableData } from './table';

/** What is known of a result beside its values. */
export interface Layout {
  /** Columns in the order in which they are declared. */
  readonly columns: readonly string[];
  /** What columns are declared to be (see `Kind`). */
  readonly kinds: Readonly<Record<string, string>>;
}

const LONGEST = 500;
const LAST = ['_creationTime', '_id'];
const SYSTEM: Readonly<Record<string, string>> = { _id: 'id', _creationTime: 'datetime' };
/** Names of fields whose numbers are moments, if they look like milliseconds since the epoch. */
const MOMENTS = /^(?:_creationTime|(?:.*_)?(?:time|timestamp|at)|.*(?:At|Time|Timestamp))$/;
/** 2001 to 3000. */
const SINCE = 978_307_200_000;
const UNTIL = 32_503_680_000_000;

type Row = { [name: string]: Json };
type Cell = null | boolean | number | string;
/** A value with what JSON lacks. */
type Plain = Json | bigint | Uint8Array;

/**
 * A result as a table of at most `limit` rows; `total` if it is known that there are more.
 *
 * Rows that are as in the table `before` are the same arrays, by which a view knows that nothing about them is new.
 */
export function tableOf(
  value: Json,
  layout: Layout,
  limit: number,
  total = 0,
  before: TableData | null = null,
): TableData {
  const plain = special(isDocument(value) && Array.isArray(value.page) ? value.page : value);
  if (isDocument(plain)) {
    const fields = Object.entries(plain);
    const rows = fields.slice(0, limit).map(([name, item]) => [cell(name), field(item, looksLikeMoments(name, [plain]))]);
    return { columns: ['field', 'value'], rows, total: fields.length, document: true };
  }
  if (!Array.isArray(plain)) {
    return { columns: ['value'], rows: plain === null ? [] : [[cell(plain)]], total: plain === null ? 0 : 1 };
  }
  const rows = plain.slice(0, limit);
  const documents = rows.filter(isDocument);
  if (documents.length === 0 && rows.length > 0) {
    return { columns: ['value'], rows: rows.map(row => [cell(row)]), total: plain.length };
  }
  const names = columnNames(documents, layout.columns);
  const columns = names.map(name => safeText(name));
  if (documents.length < rows.length) {
    const moments = names.map(name => looksLikeMoments(name, documents));
    const texts = (row: Json) => names.map((name, i) => (isDocument(row) ? field(own(row, name), moments[i]!) : null));
    return { columns, rows: rows.map(texts), total: total || plain.length };
  }
  return {
    columns,
    kinds: names.map(name => kindOf(name, layout, documents)),
    rows: keep(documents.map(row => names.map(name => own(row, name))), before?.rows ?? [], names.indexOf('_id')),
    total: total || plain.length,
  };
}

/** Take the arrays of before for rows that have not changed. */
function keep(rows: Json[][], before: TableData['rows'], key: number): TableData['rows'] {
  const places = new Map(before.map((row, at) => [row[key], at]));
  return rows.map((row, at) => {
    const old = before[(key >= 0 ? places.get(row[key]) : undefined) ?? at];
    return old !== undefined && same(old, row) ? old : row;
  });
}

function same(one: unknown, other: unknown): boolean {
  if (one === other || typeof one !== 'object' || typeof other !== 'object' || one === null || other === null) {
    return one === other;
  }
  const [names, others] = [Object.keys(one), Object.keys(other)];
  return (
    names.length === others.length &&
    names.every(name => Object.hasOwn(other, name) && same((one as Row)[name], (other as Row)[name]))
  );
}

/** Text that shows as what it is. */
export function safeText(text: string, longest = LONGEST): string {
  if (text.length > longest) {
    const points = Array.from(text.slice(0, 2 * longest + 1));
    text = points.length > longest ? `${points.slice(0, longest).join('')}…` : text;
  }
  return visible(text);
}

/** A value as one cell: a number, or text. */
export function cell(value: Plain): Cell {
  const plain = special(value);
  switch (typeof plain) {
    case 'string':
      return safeText(plain);
    case 'number':
      return Number.isFinite(plain) ? plain : floatText(plain);
    case 'bigint':
      return BigInt.asIntN(54, plain) === plain || plain === 2n ** 53n ? Number(plain) : String(plain);
    case 'boolean':
      return plain;
  }
  return plain === null ? null : plain instanceof Uint8Array ? bytesText(plain) : safeText(jsonText(plain));
}

function field(value: Json, moment: boolean): Cell {
  const plain = special(value);
  return moment && isNumber(plain) ? timeText(Number(plain)) : cell(plain);
}

// ---- columns ----

/** The declared ones, then others as they come, system fields last. */
export function columnNames(rows: readonly Row[], declared: readonly string[]): string[] {
  const names = new Set(declared);
  const shapes = new Map(rows.map(row => [Object.keys(row).join('\0'), row]));
  for (const row of shapes.values()) {
    const shape = Object.keys(row);
    const sorted = shape.every((name, i) => i === 0 || shape[i - 1]! <= name);
    // What comes from a backend has its fields in the order of their names; then numbers in names count as numbers
    (sorted ? shape.sort(naturally) : shape).forEach(name => names.add(name));
  }
  return [...[...names].filter(name => !LAST.includes(name)), ...LAST.filter(name => names.has(name))];
}

function naturally(one: string, other: string): number {
  const [ones, others] = [parts(one), parts(other)];
  for (let i = 0; i < Math.min(ones.length, others.length); i++) {
    const [a, b] = [ones[i]!, others[i]!];
    const [n, m] = [/^\d/.test(a) ? Number(a) : -1, /^\d/.test(b) ? Number(b) : -1];
    if (n !== m) {
      return n - m;
    }
    if (n < 0 && a !== b) {
      return a < b ? -1 : 1;
    }
  }
  return ones.length - others.length;
}

function parts(name: string): string[] {
  return name.match(/\d+|\D+/g) ?? [];
}

function kindOf(name: string, { kinds }: Layout, rows: readonly Row[]): string {
  const kind = (Object.hasOwn(SYSTEM, name) && SYSTEM[name]) || (Object.hasOwn(kinds, name) && kinds[name]) || '';
  const numeric = ['', 'number', 'integer'].includes(kind) && rows.some(row => isNumber(special(own(row, name))));
  return numeric && looksLikeMoments(name, rows) ? 'datetime' : kind;
}

function looksLikeMoments(name: string, rows: readonly Row[]): boolean {
  const looksLikeOne = (row: Row) => {
    const plain = special(own(row, name));
    return !isNumber(plain) || (SINCE <= plain && plain < UNTIL);
  };
  return MOMENTS.test(name) && rows.every(looksLikeOne);
}

function isNumber(value: Plain): value is number | bigint {
  return typeof value === 'number' || typeof value === 'bigint';
}

function own(row: Row, name: string): Json {
  return Object.hasOwn(row, name) ? row[name]! : null;
}

function isDocument(value: Plain): value is Row {
  return isRecord(value) && !(value instanceof Uint8Array);
}

// ---- values ----

/** What stands in JSON for a value that it lacks; everything else as it is. */
function special(value: Plain): Plain {
  if (!isDocument(value)) {
    return value;
  }
  const [entry, ...others] = Object.entries(value);
  if (entry === undefined || others.length > 0 || !entry[0].startsWith('$') || typeof entry[1] !== 'string') {
    return value;
  }
  try {
    const bytes = Uint8Array.from(atob(entry[1]), letter => letter.charCodeAt(0));
    const view = new DataView(bytes.buffer);
    const read = { $bytes: () => bytes, $float: () => view.getFloat64(0, true), $integer: () => view.getBigInt64(0, true) };
    return Object.hasOwn(read, entry[0]) ? read[entry[0] as keyof typeof read]() : value;
  } catch {
    return value;
  }
}

function bytesText(bytes: Uint8Array): string {
  return `<${bytes.length} bytes>`;
}

/** As Python writes them, here and in all that the kernel shows. */
function floatText(value: number): string {
  return Number.isNaN(value) ? 'nan' : value > 0 ? 'inf' : '-inf';
}

function timeText(ms: number): Cell {
  const when = new Date(ms);
  if (Number.isNaN(when.getTime())) {
    return cell(ms);
  }
  const pad = (n: number, digits = 2) => String(n).padStart(digits, '0');
  const day = `${pad(when.getFullYear(), 4)}-${pad(when.getMonth() + 1)}-${pad(when.getDate())}`;
  return `${day} ${pad(when.getHours())}:${pad(when.getMinutes())}:${pad(when.getSeconds())}`;
}

/** A nested value as JSON, spaced as Python does. */
function jsonText(value: Json): string {
  const plain = special(value);
  if (Array.isArray(plain)) {
    return `[${plain.map(jsonText).join(', ')}]`;
  }
  if (plain instanceof Uint8Array) {
    return JSON.stringify(bytesText(plain));
  }
  if (isDocument(plain)) {
    return `{${Object.entries(plain).map(([name, item]) => `${JSON.stringify(name)}: ${jsonText(item)}`).join(', ')}}`;
  }
  if (typeof plain === 'number' && !Number.isFinite(plain)) {
    return Number.isNaN(plain) ? 'NaN' : plain > 0 ? 'Infinity' : '-Infinity';
  }
  return typeof plain === 'bigint' ? String(plain) : JSON.stringify(plain);
}
