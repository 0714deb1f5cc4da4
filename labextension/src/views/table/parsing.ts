/** What somebody has typed into a cell, as a value of its column; or what is wrong with it, in words. */

import type { Json } from '../../connection/page';
import { isRecord } from '../../records';
import { momentText, readSpecial } from '../sql_values';
import type { Kind } from './columns';
import { wholeText } from './formats';

/** A field that may be edited. */
export interface Field {
  readonly kind: Kind;
  /** Whether it may be null. */
  readonly nullable: boolean;
  /** The only values that it may have. */
  readonly options: readonly Json[];
}

export type Parsed = { readonly value: Json } | { readonly problem: string };

const ANY: Field = { kind: '', nullable: true, options: [] };

export function readField(said: unknown): Field {
  if (!isRecord(said)) {
    return ANY;
  }
  return {
    kind: typeof said.kind === 'string' ? (said.kind as Kind) : '',
    nullable: said.nullable === true,
    options: Array.isArray(said.options) ? (said.options as Json[]) : [],
  };
}

/** What stands in the field when editing begins. */
export function editText(value: unknown, { kind }: Field): string {
  if (value === null || value === undefined) {
    return '';
  }
  const plain = readSpecial(value);
  return kind === 'datetime' && typeof plain === 'number' ? momentText(plain, true) : wholeText(value);
}

/** Whether a value that is too long, or no text at all, had better not be edited in a cell. */
export function isWhole(value: unknown): boolean {
  return !(isRecord(value) && (typeof value.$cut === 'string' || typeof value.$bytes === 'string'));
}

/** A value of the kind of a field; where that is anything, of the kind of the value before. */
export function parse(text: string, field: Field, before: unknown): Parsed {
  const trimmed = text.trim();
  const kind = field.kind || kindOf(before);
  if (trimmed === '' && kind !== 'text') {
    return field.nullable ? { value: null } : { problem: `${PLEASE[kind] ?? 'a value'}; it cannot be empty` };
  }
  switch (kind) {
    case 'number':
    case 'integer':
      return number(trimmed, kind);
    case 'int64':
      return int64(trimmed);
    case 'boolean':
      return boolean(trimmed);
    case 'datetime':
      return moment(trimmed);
    case 'json':
      return json(trimmed);
    case 'bytes':
      return { problem: 'bytes cannot be edited here' };
    case '':
      return json(trimmed, text);
    default:
      return { value: text };
  }
}

const PLEASE: Partial<Record<Kind, string>> = {
  number: 'a number, e.g. 3.5',
  integer: 'a whole number, e.g. 3',
  int64: 'a whole number, e.g. 3',
  boolean: 'true or false',
  datetime: 'a date and a time, e.g. 2026-11-23 14:30',
  json: 'JSON, e.g. ["a", 1]',
  id: 'an id',
};

function kindOf(value: unknown): Kind {
  switch (typeof value) {
    case 'string':
      return 'text';
    case 'number':
      return 'number';
    case 'boolean':
      return 'boolean';
    case 'object':
      return value === null ? '' : isRecord(value) && typeof value.$integer === 'string' ? 'int64' : 'json';
    default:
      return '';
  }
}

function number(text: string, kind: Kind): Parsed {
  const plain = /,\d{3}(?!\d)/.test(text) ? text.replace(/,/g, '') : text;
  const value = /^[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?$/i.test(plain) ? Number(plain) : NaN;
  if (!Number.isFinite(value) || (kind === 'integer' && !Number.isInteger(value))) {
    return { problem: `${PLEASE[kind]}, not ${quoted(text)}` };
  }
  return Math.abs(value) > Number.MAX_SAFE_INTEGER && Number.isInteger(value)
    ? { problem: 'too large to be exact: whole numbers go up to 9,007,199,254,740,991' }
    : { value };
}

function int64(text: string): Parsed {
  if (!/^[+-]?\d+$/.test(text) || BigInt.asIntN(64, BigInt(text)) !== BigInt(text)) {
    return { problem: `${PLEASE.int64}, not ${quoted(text)}` };
  }
  const view = new DataView(new ArrayBuffer(8));
  view.setBigInt64(0, BigInt(text), true);
  return { value: { $integer: btoa(String.fromCharCode(...new Uint8Array(view.buffer))) } };
}

function boolean(text: string): Parsed {
  const said = text.toLowerCase();
  const value = ['true', 'yes', '1'].includes(said) ? true : ['false', 'no', '0'].includes(said) ? false : null;
  return value === null ? { problem: `${PLEASE.boolean}, not ${quoted(text)}` } : { value };
}

/** Without a zone it is where the reader is. */
function moment(text: string): Parsed {
  const found = /^(\d{4}-\d{2}-\d{2})(?:[ T]+(\d{1,2}:\d{2}(?::\d{2}(?:\.\d{1,6})?)?)\s*(Z|UTC|[+-]\d{2}:?\d{2})?)?$/i.exec(text);
  const [, day, time, zone] = found ?? [];
  const clock = (time ?? '00:00').padStart((time ?? '').length + (/^\d:/.test(time ?? '') ? 1 : 0), '0');
  const ms = found ? new Date(`${day}T${clock}${zone ? zone.toUpperCase().replace('UTC', 'Z') : ''}`).getTime() : NaN;
  return Number.isNaN(ms) ? { problem: `${PLEASE.datetime}, not ${quoted(text)}` } : { value: ms };
}

function json(text: string, otherwise?: string): Parsed {
  try {
    return { value: JSON.parse(text) as Json };
  } catch (error) {
    return otherwise !== undefined ? { value: otherwise } : { problem: `${PLEASE.json}: ${(error as Error).message}` };
  }
}

function quoted(text: string): string {
  return `“${text.length > 40 ? `${text.slice(0, 40)}…` : text}”`;
}
