/**
 * Values as they are on the wire, as what a reader wants to see of them.
 *
 * They come as Convex values in JSON; what JSON lacks is an object with one key (`$bytes`, `$float`, `$integer`). Characters
 * that would change how their surroundings look (controls, right-to-left overrides) are written out, as the kernel does.
 */

// eslint-disable-next-line no-control-regex
const HIDDEN =
  /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb\ud800-\udfff]/gu;

/** What stands in JSON for a value that it lacks. */
export function readSpecial(value: unknown): unknown {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    return Array.isArray(value) ? value.map(readSpecial) : value;
  }
  const entries = Object.entries(value);
  const [first] = entries;
  if (entries.length === 1 && typeof first![1] === 'string' && first![0].startsWith('$')) {
    if (first![0] === '$cut') {
      return first![1]; // a long text, of which this is the beginning
    }
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
export function momentText(ms: number, zoned: boolean): string {
  const moment = new Date(zoned ? ms - new Date(ms).getTimezoneOffset() * 60_000 : ms);
  if (Number.isNaN(moment.getTime())) {
    return String(ms);
  }
  return moment.toISOString().replace('T', ' ').replace(/(?:\.000|0{0,2})Z$/, '');
}

export function visible(text: string): string {
  return text.replace(HIDDEN, found => `\\u${found.charCodeAt(0).toString(16).padStart(4, '0')}`);
}
