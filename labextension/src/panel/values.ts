/** What the panel reads of the wire, and how it writes it for people. */

import { isRecord } from '../records';
import type { Json } from '../connection/page';

export type Fields = Record<string, unknown>;

/** The objects of a list; whatever else is in it is left out. */
export function records(value: unknown): Fields[] {
  return Array.isArray(value) ? value.filter(isRecord) : [];
}

export function record(value: unknown): Fields {
  return isRecord(value) ? value : {};
}

export function text(value: unknown): string {
  return typeof value === 'string' ? value : value === undefined || value === null ? '' : JSON.stringify(value);
}

export function number(value: unknown): number {
  return typeof value === 'number' && Number.isFinite(value) ? value : 0;
}

/** "12 kB". */
export function bytes(value: unknown): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB'];
  let size = number(value);
  let unit = 0;
  while (size >= 1000 && unit < units.length - 1) {
    size /= 1000;
    unit += 1;
  }
  return `${size >= 100 || unit === 0 ? Math.round(size) : size.toFixed(1)} ${units[unit]}`;
}

/** "0.8 ms", "12 ms", "1.4 s". */
export function duration(ms: unknown): string {
  const value = number(ms);
  return value >= 1000 ? `${(value / 1000).toFixed(1)} s` : `${value >= 10 ? Math.round(value) : value.toFixed(1)} ms`;
}

/** A time of today as a clock shows it, any other with its date. */
export function moment(ms: unknown, now: number = Date.now()): string {
  const value = number(ms);
  if (value <= 0) {
    return '';
  }
  const when = new Date(value);
  const pad = (n: number) => String(n).padStart(2, '0');
  const clock = `${pad(when.getHours())}:${pad(when.getMinutes())}:${pad(when.getSeconds())}`;
  const day = `${when.getFullYear()}-${pad(when.getMonth() + 1)}-${pad(when.getDate())}`;
  return when.toDateString() === new Date(now).toDateString() ? clock : `${day} ${clock}`;
}

export function count(value: unknown): string {
  return number(value).toLocaleString('en');
}

/** What somebody has typed as JSON; a word that is no JSON stands for itself. */
export function parseLoose(typed: string): Json {
  try {
    return JSON.parse(typed) as Json;
  } catch {
    return typed;
  }
}

/** An object that was typed as JSON; what is wrong is said. */
export function parseObject(typed: string): { [key: string]: Json } {
  const value: unknown = JSON.parse(typed.trim() || '{}');
  if (!isRecord(value)) {
    throw new Error('expected an object: {"name": value}');
  }
  return value as { [key: string]: Json };
}

/** A validator in few words: `string`, `number?`, `{ a: string }`. */
export function describeValidator(validator: unknown, depth = 0): string {
  if (!isRecord(validator) || depth > 5) {
    return 'any';
  }
  const inner = (part: unknown) => describeValidator(part, depth + 1);
  switch (validator.type) {
    case 'id':
      return `Id<${text(validator.tableName)}>`;
    case 'literal':
      return JSON.stringify(validator.value);
    case 'array':
      return `${inner(validator.value)}[]`;
    case 'record':
      return `{ [${inner(validator.keys)}]: ${inner(record(validator.values).fieldType)} }`;
    case 'union':
      return (Array.isArray(validator.value) ? validator.value : []).map(inner).join(' | ') || 'never';
    case 'object':
      return `{ ${describeFields(validator, depth)} }`;
    default:
      return text(validator.nbreactive) || (validator.type === 'bigint' ? 'int64' : text(validator.type) || 'any');
  }
}

/** Names are shown as they are written in code. */
export function labelsOf(validator: unknown): Record<string, string> {
  return Object.fromEntries(Object.keys(record(record(validator).value)).map(name => [name, name]));
}

/** The fields of an object's validator: `author: string, likes?: number`. */
export function describeFields(validator: unknown, depth = 0): string {
  const fields = record(record(validator).value);
  return Object.entries(fields)
    .map(([name, field]) => {
      const { optional, fieldType } = record(field);
      return `${name}${optional === true ? '?' : ''}: ${describeValidator(fieldType, depth + 1)}`;
    })
    .join(', ');
}
