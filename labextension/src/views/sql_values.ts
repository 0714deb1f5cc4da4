/**
 * Values of SQL results as text.
 *
 * They come as Convex values in JSON; what JSON lacks is an object with one key (`$bytes`, `$float`, `$integer`). The
 * type of a column says what its numbers are. Characters that would change how their surroundings look (controls,
 * right-to-left overrides) are written out, as the kernel does.
 */

import { cellText } from './cell_text';

const NUMERIC = /^(?:U?(?:TINY|SMALL|BIG|HUGE)INT|U?INTEGER|BIGNUM|VARINT|FLOAT|REAL|DOUBLE|DECIMAL\b.*)$/;
const ZONED = /^TIMESTAMP WITH TIME ZONE$|^TIMESTAMPTZ$/;
const MOMENT = /^TIMESTAMP/;
// eslint-disable-next-line no-control-regex
const HIDDEN =
  /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb\ud800-\udfff]/gu;

/** How a column is set: numbers to the right, what the system adds in a quiet colour. */
export function columnClass(name: string, type: string): string {
  return name.startsWith('_') ? 'nbr-system' : NUMERIC.test(type) ? 'nbr-number' : '';
}

/** One cell as a reader wants it. */
export function sqlText(value: unknown, type: string): string {
  if (value === null || value === undefined) {
    return '';
  }
  const plain = readSpecial(value);
  if (typeof plain === 'number' && MOMENT.test(type)) {
    return momentText(plain, ZONED.test(type));
  }
  return visible(cellText(plain));
}

/** What stands in JSON for a value that it lacks. */
function readSpecial(value: unknown): unknown {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    return Array.isArray(value) ? value.map(readSpecial) : value;
  }
  const entries = Object.entries(value);
  const [first] = entries;
  if (entries.length === 1 && typeof first![1] === 'string' && first![0].startsWith('$')) {
    try {
      const bytes = Uint8Array.from(atob(first![1]), letter => letter.charCodeAt(0));
      const view = new DataView(bytes.buffer);
      switch (first![0]) {
        case '$bytes':
          return `<${bytes.length} bytes>`;
        case '$float':
          return String(view.getFloat64(0, true));
        case '$integer':
          return String(view.getBigInt64(0, true));
      }
    } catch {
      return value;
    }
  }
  return Object.fromEntries(entries.map(([key, item]) => [key, readSpecial(item)]));
}

/** A moment: where the reader is, if it has a time zone, else as it was written. */
function momentText(ms: number, zoned: boolean): string {
  const moment = new Date(zoned ? ms - new Date(ms).getTimezoneOffset() * 60_000 : ms);
  if (Number.isNaN(moment.getTime())) {
    return String(ms);
  }
  return moment.toISOString().replace('T', ' ').replace(/(?:\.000|0{0,2})Z$/, '');
}

export function visible(text: string): string {
  return text.replace(HIDDEN, found => `\\u${found.charCodeAt(0).toString(16).padStart(4, '0')}`);
}
