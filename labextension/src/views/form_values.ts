/**
 * What a form knows of validators: their forms, their names in messages, and what the texts that people type stand for.
 *
 * Messages are those of the server (`nbreactive/values/_checkers.py`), without its advice for programmers.
 */

import type { Json } from '../connection/page';
import { isRecord } from '../records';

/** Kinds of which a value is typed as text. */
export type TextKind = 'string' | 'number' | 'integer' | 'int64' | 'datetime' | 'any';
export type Shape =
  | { readonly kind: TextKind | 'null' | 'boolean' | 'bytes' }
  | { readonly kind: 'id'; readonly table: string }
  | { readonly kind: 'literal'; readonly value: Json }
  | { readonly kind: 'array'; readonly item: Shape }
  | { readonly kind: 'object'; readonly fields: readonly Entry[] }
  | { readonly kind: 'record'; readonly keys: Shape; readonly values: Shape }
  | { readonly kind: 'union'; readonly members: readonly Shape[] };

export interface Entry {
  readonly name: string;
  readonly shape: Shape;
  readonly optional: boolean;
}

export type Reading = { readonly value: Json } | { readonly problem: string };

const ANY: Shape = { kind: 'any' };
const DEEPEST = 16;
const MIN_INT64 = -(2n ** 63n);
const MAX_INT64 = 2n ** 63n - 1n;

/** The form of a validator's JSON; whatever is not known can be anything. */
export function readShape(json: unknown, depth = 0): Shape {
  if (!isRecord(json) || depth > DEEPEST) {
    return ANY;
  }
  const inner = (part: unknown) => readShape(part, depth + 1);
  switch (json.type) {
    case 'string':
    case 'boolean':
    case 'null':
    case 'bytes':
      return { kind: json.type };
    case 'number':
      return { kind: json.nbreactive === 'integer' || json.nbreactive === 'datetime' ? json.nbreactive : 'number' };
    case 'bigint':
      return { kind: 'int64' };
    case 'id':
      return { kind: 'id', table: String(json.tableName) };
    case 'literal':
      return { kind: 'literal', value: json.value as Json };
    case 'array':
      return { kind: 'array', item: inner(json.value) };
    case 'record':
      return { kind: 'record', keys: inner(json.keys), values: inner(isRecord(json.values) && json.values.fieldType) };
    case 'union':
      return { kind: 'union', members: Array.isArray(json.value) ? json.value.map(inner) : [] };
    case 'object': {
      const fields = isRecord(json.value) ? Object.entries(json.value) : [];
      return {
        kind: 'object',
        fields: fields.map(([name, field]) => ({
          name,
          shape: inner(isRecord(field) && field.fieldType),
          optional: isRecord(field) && field.optional === true,
        })),
      };
    }
    default:
      return ANY;
  }
}

const EXPECTED: Record<string, string> = {
  string: 'a string',
  number: 'a number',
  integer: 'a whole number',
  int64: 'a 64-bit integer',
  datetime: 'a datetime',
  any: 'any value',
  null: 'null',
  boolean: 'a boolean',
  bytes: 'bytes',
  array: 'an array',
  object: 'an object',
  record: 'an object',
};

/** What messages say is expected. */
export function expected(shape: Shape): string {
  switch (shape.kind) {
    case 'id':
      return `an id of the table ${show(shape.table)}`;
    case 'literal':
      return describe(shape.value);
    case 'union':
      return [...new Set(shape.members.map(expected))].join(' or ') || 'nothing';
    default:
      return EXPECTED[shape.kind]!;
  }
}

export function missing(shape: Shape): string {
  return `is missing; expected ${expected(shape)}`;
}

/** What a text stands for. */
export function readText(shape: Shape, text: string): Reading {
  const trimmed = text.trim();
  const wrong = (value: Json): Reading => ({ problem: `expected ${expected(shape)}, got ${describe(value)}` });
  switch (shape.kind) {
    case 'number':
    case 'integer': {
      const value = Number(trimmed);
      if (trimmed === '' || !/^[-+]?[\d.]/.test(trimmed) || !Number.isFinite(value)) {
        return wrong(text);
      }
      return shape.kind === 'integer' && !Number.isSafeInteger(value) ? wrong(value) : { value: Object.is(value, -0) ? 0 : value };
    }
    case 'int64': {
      if (!/^[-+]?\d{1,20}$/.test(trimmed)) {
        return wrong(text);
      }
      const value = BigInt(trimmed.replace('+', ''));
      return value < MIN_INT64 || value > MAX_INT64 ? wrong(text) : { value: { $integer: base64OfInt64(value) } };
    }
    case 'datetime': {
      const value = new Date(trimmed).getTime(); // in the time zone of whoever types
      return Number.isNaN(value) ? wrong(text) : { value };
    }
    case 'any':
      try {
        return { value: JSON.parse(text) as Json };
      } catch {
        return { problem: 'not JSON: write texts as "text", and also null, true, 1.5, [1, 2], {"a": 1}' };
      }
    default:
      return { value: shape.kind === 'id' ? trimmed : text };
  }
}

/** The text of a value, which `readText` makes the same value of. */
export function writeText(shape: Shape, value: Json): string {
  switch (shape.kind) {
    case 'int64':
      return isRecord(value) ? String(int64OfBase64(String(value.$integer))) : String(value);
    case 'datetime':
      return typeof value === 'number' ? localTime(value) : '';
    case 'any':
      return JSON.stringify(value);
    default:
      return typeof value === 'string' ? value : JSON.stringify(value);
  }
}

/** Whether a value may be meant for a shape: it tells the members of a union apart. */
export function fits(shape: Shape, value: Json): boolean {
  switch (shape.kind) {
    case 'null':
      return value === null;
    case 'boolean':
      return typeof value === 'boolean';
    case 'string':
    case 'id':
      return typeof value === 'string';
    case 'number':
    case 'integer':
    case 'datetime':
      return typeof value === 'number';
    case 'int64':
      return typeof value === 'number' || (isRecord(value) && '$integer' in value);
    case 'bytes':
      return isRecord(value) && '$bytes' in value;
    case 'literal':
      return JSON.stringify(value) === JSON.stringify(shape.value);
    case 'array':
      return Array.isArray(value);
    case 'object':
      return (
        isRecord(value) &&
        Object.keys(value).every(name => shape.fields.some(field => field.name === name)) &&
        shape.fields.every(({ name, shape: inner, optional }) =>
          name in value ? fits(inner, value[name] as Json) : optional,
        )
      );
    case 'record':
      return isRecord(value);
    case 'union':
      return shape.members.some(member => fits(member, value));
    default:
      return true;
  }
}

/** A value with its type, as in "got the string 'a'". */
export function describe(value: Json): string {
  if (value === null) {
    return 'null';
  }
  const type = typeof value;
  return type === 'object' ? show(value) : `the ${type} ${show(value)}`;
}

function show(value: Json): string {
  if (Array.isArray(value)) {
    return `an array of ${value.length} items`;
  }
  if (typeof value === 'boolean') {
    return value ? 'True' : 'False';
  }
  if (typeof value === 'string') {
    const short = value.length <= 40 ? value : `${value.slice(0, 37)}...`;
    return short.includes("'") && !short.includes('"') ? `"${short}"` : `'${short.replace(/'/g, "\\'")}'`;
  }
  if (isRecord(value)) {
    return '$integer' in value ? String(int64OfBase64(String(value.$integer))) : 'an object';
  }
  return String(value);
}

/** "first_name" as people write it. */
export function labelOf(name: string): string {
  const words = name
    .replace(/([a-z\d])([A-Z])/g, (_, before: string, after: string) => `${before} ${after.toLowerCase()}`)
    .replace(/_+/g, ' ')
    .trim();
  return words === '' ? name : words[0]!.toUpperCase() + words.slice(1);
}

function localTime(milliseconds: number): string {
  const local = new Date(milliseconds - new Date(milliseconds).getTimezoneOffset() * 60_000);
  return Number.isNaN(local.getTime()) ? '' : local.toISOString().slice(0, 19);
}

function base64OfInt64(value: bigint): string {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigInt64(0, value, true);
  return btoa(String.fromCharCode(...bytes));
}

function int64OfBase64(text: string): bigint {
  try {
    const bytes = Uint8Array.from(atob(text), letter => letter.charCodeAt(0));
    return new DataView(bytes.buffer).getBigInt64(0, true);
  } catch {
    return 0n;
  }
}

/** Where a message of the server belongs: "args.items[3].price: expected a number" is about items, 3, price. */
export function placeOf(message: string): { steps: (string | number)[]; message: string } | null {
  const found = /(?:^|: )args((?:\.[A-Za-z_]\w*|\[\d+\]|\['[^']*'\])+): ([^]*)$/.exec(message);
  if (found === null) {
    return null;
  }
  const steps = [...found[1]!.matchAll(/\.(\w+)|\[(\d+)\]|\['([^']*)'\]/g)].map(([, name, index, key]) =>
    index !== undefined ? Number(index) : (name ?? key ?? ''),
  );
  return { steps, message: found[2]!.replace(/\nPath: [^]*$/, '').trim() };
}
