import { expect, test } from 'vitest';
import { columnClass, sqlText } from '../../src/views/sql_values';

const special = (kind: string, write: (view: DataView) => void) => {
  const bytes = new Uint8Array(8);
  write(new DataView(bytes.buffer));
  return { [kind]: btoa(String.fromCharCode(...bytes)) };
};

test('values are shown by the type of their column', () => {
  expect(sqlText(0.1 + 0.2, 'DOUBLE')).toBe('0.3');
  expect(sqlText('12345678901234567890.50', 'DECIMAL(38,2)')).toBe('12345678901234567890.50');
  expect(sqlText(null, 'VARCHAR')).toBe('');
  expect(sqlText(true, 'BOOLEAN')).toBe('true');
  expect(sqlText(Date.UTC(2026, 10, 1, 12, 30, 5), 'TIMESTAMP')).toBe('2026-11-01 12:30:05');
  expect(sqlText(Date.UTC(2026, 10, 1, 12, 30, 5, 120), 'TIMESTAMP')).toBe('2026-11-01 12:30:05.12');
  expect(sqlText(1e300, 'TIMESTAMP')).toBe('1e+300');
  expect(sqlText({ a: 1, b: [1, 2] }, 'STRUCT(a INTEGER, b INTEGER[])')).toBe('{"a":1,"b":[1,2]}');
});

test('a moment with a time zone is shown as where the reader is', () => {
  const ms = Date.UTC(2026, 6, 1, 12);
  const local = new Date(ms);
  const pad = (n: number) => String(n).padStart(2, '0');
  const clock = `${pad(local.getHours())}:${pad(local.getMinutes())}:${pad(local.getSeconds())}`;
  expect(sqlText(ms, 'TIMESTAMP WITH TIME ZONE')).toContain(clock);
});

test('what JSON lacks is read', () => {
  expect(sqlText(special('$float', view => view.setFloat64(0, NaN, true)), 'DOUBLE')).toBe('NaN');
  expect(sqlText(special('$float', view => view.setFloat64(0, -Infinity, true)), 'DOUBLE')).toBe('-Infinity');
  expect(sqlText(special('$integer', view => view.setBigInt64(0, 2n ** 60n, true)), 'BIGINT')).toBe(String(2n ** 60n));
  expect(sqlText({ $bytes: btoa('abc') }, 'BLOB')).toBe('<3 bytes>');
  expect(sqlText([{ $bytes: btoa('abc') }], 'BLOB[]')).toBe('["<3 bytes>"]');
  expect(sqlText({ $bytes: '?' }, 'JSON')).toBe('{"$bytes":"?"}');
});

test('characters that hide are written out', () => {
  expect(sqlText('a\u202eb\u001b[31m', 'VARCHAR')).toBe('a\\u202eb\\u001b[31m');
});

test('numbers stand to the right, whatever they are written as', () => {
  for (const type of ['INTEGER', 'BIGINT', 'UHUGEINT', 'DOUBLE', 'DECIMAL(18,3)']) {
    expect(columnClass('n', type)).toBe('nbr-number');
  }
  expect(columnClass('n', 'INTEGER[]')).toBe('');
  expect(columnClass('n', 'VARCHAR')).toBe('');
  expect(columnClass('_creationTime', 'TIMESTAMP WITH TIME ZONE')).toBe('nbr-system');
});
