import { expect, test } from 'vitest';
import { momentText, readSpecial, visible } from '../../src/views/sql_values';

const special = (kind: string, write: (view: DataView) => void) => {
  const bytes = new Uint8Array(8);
  write(new DataView(bytes.buffer));
  return { [kind]: btoa(String.fromCharCode(...bytes)) };
};

test('a moment with a time zone is shown as where the reader is', () => {
  const ms = Date.UTC(2026, 6, 1, 12);
  const local = new Date(ms);
  const pad = (n: number) => String(n).padStart(2, '0');
  const clock = `${pad(local.getHours())}:${pad(local.getMinutes())}:${pad(local.getSeconds())}`;
  expect(momentText(ms, true)).toContain(clock);
  expect(momentText(Date.UTC(2026, 10, 1, 12, 30, 5, 120), false)).toBe('2026-11-01 12:30:05.12');
});

test('what JSON lacks is read', () => {
  expect(readSpecial(special('$float', view => view.setFloat64(0, NaN, true)))).toBe('NaN');
  expect(readSpecial(special('$float', view => view.setFloat64(0, -Infinity, true)))).toBe('-Infinity');
  expect(readSpecial(special('$integer', view => view.setBigInt64(0, 2n ** 60n, true)))).toBe(String(2n ** 60n));
  expect(readSpecial({ $bytes: btoa('abc') })).toBe('<3 bytes>');
  expect(readSpecial([{ $bytes: btoa('abc') }])).toEqual(['<3 bytes>']);
  expect(readSpecial({ $bytes: '?' })).toEqual({ $bytes: '?' });
  expect(readSpecial({ $cut: 'the beginning…' })).toBe('the beginning…');
});

test('characters that hide are written out', () => {
  expect(visible('a\u202eb\u001b[31m')).toBe('a\\u202eb\\u001b[31m');
});
