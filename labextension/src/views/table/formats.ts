/** Values as people read them, as they are sorted by, and as they are searched for. Always text, never anything else. */

import { cellText } from '../cell_text';
import { momentText, readSpecial, visible } from '../sql_values';
import { isSystem, type Column } from './columns';

/** Characters of a cell that are in the page: a megabyte in one would stall it. */
const LONGEST = 500;
const HOVERED = 4_000;
const NUMBER = /^(,)?(?:\.(\d{1,2}))?(%|f)?$/;

/** One cell as a reader wants it. */
export function textOf(value: unknown, column: Column): string {
  if (value === null || value === undefined) {
    return value === null ? 'null' : '';
  }
  const plain = readSpecial(value);
  if (typeof plain === 'number') {
    if (column.kind === 'datetime' || column.kind === 'naive') {
      return momentOf(plain, column);
    }
    return column.format ? numberText(plain, column.format) : cellText(plain);
  }
  const text = visible(cellText(plain));
  return text.length > LONGEST ? `${text.slice(0, LONGEST)}…` : text;
}

/** The whole of it, and what the short form leaves out. */
export function hoverText(value: unknown, column: Column, cut: boolean): string {
  if (value === null || value === undefined) {
    return '';
  }
  const plain = readSpecial(value);
  const shown = textOf(value, column);
  if (typeof plain === 'number' && column.kind === 'datetime' && !Number.isNaN(new Date(plain).getTime())) {
    const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
    return `${new Date(plain).toISOString()}\n${momentText(plain, true)} ${zone}`;
  }
  const whole = typeof plain === 'number' ? String(plain) : wholeText(value);
  return whole !== shown || cut || isSystem(column) ? whole.slice(0, HOVERED) : '';
}

/** A value as text, not cut short as cells are: to copy, and to look at the whole of it. */
export function wholeText(value: unknown): string {
  if (value === null || value === undefined) {
    return '';
  }
  const plain = readSpecial(value);
  return typeof plain === 'string' ? plain : typeof plain === 'object' ? JSON.stringify(plain) : String(plain);
}

function momentOf(ms: number, { kind, type, format }: Column): string {
  const text = momentText(ms, kind === 'datetime');
  const [day = '', time = ''] = text.split(' ');
  switch (format) {
    case 'date':
      return day;
    case 'time':
      return time.slice(0, 8);
    case 'minutes':
      return `${day} ${time.slice(0, 5)}`;
    case 'ms':
      return text;
  }
  // SQL's own moments are as exact as they are; those of documents have the milliseconds on hovering
  return type ? text : text.replace(/\.\d+$/, '');
}

function numberText(value: number, format: string): string {
  const [, grouped, digits, unit] = NUMBER.exec(format) ?? [];
  const options: Intl.NumberFormatOptions = {
    useGrouping: grouped !== undefined,
    ...(digits !== undefined && { minimumFractionDigits: Number(digits), maximumFractionDigits: Number(digits) }),
    ...(digits === undefined && { maximumFractionDigits: 12 }),
    style: unit === '%' ? 'percent' : 'decimal',
  };
  return formatter(JSON.stringify(options), options).format(value);
}

const formatters = new Map<string, Intl.NumberFormat>();

function formatter(key: string, options: Intl.NumberFormatOptions): Intl.NumberFormat {
  const known = formatters.get(key) ?? new Intl.NumberFormat('en', options);
  formatters.set(key, known);
  return known;
}

/** What a value is sorted by; null comes last, whichever way. */
export type SortKey = number | string | null;

export function sortKey(value: unknown, { kind }: Column): SortKey {
  if (value === null || value === undefined) {
    return null;
  }
  if (typeof value === 'number' || typeof value === 'string') {
    return value;
  }
  if (typeof value === 'boolean') {
    return Number(value);
  }
  const plain = readSpecial(value);
  if (kind === 'number' || kind === 'integer' || kind === 'int64') {
    const number = Number(plain);
    return Number.isNaN(number) ? null : number;
  }
  return typeof plain === 'string' ? plain : JSON.stringify(plain);
}

const LINK = /^(?:https?:\/\/|mailto:)/i;

/** The address that a value is, if a browser may follow it; null for all other texts. */
export function linkOf(value: unknown): string | null {
  if (typeof value !== 'string' || value.length > 2_000 || !LINK.test(value) || visible(value) !== value) {
    return null;
  }
  try {
    const { protocol, href } = new URL(value);
    return protocol === 'http:' || protocol === 'https:' || protocol === 'mailto:' ? href : null;
  } catch {
    return null;
  }
}
