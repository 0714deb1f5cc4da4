import { expect, test } from 'vitest';
import type { Json } from '../../src/connection/page';
import { cell, safeText, tableOf } from '../../src/views/cells';
import cases from './cells.json';

const layout = (columns: string[] = [], kinds: Record<string, string> = {}) => ({ columns, kinds });

interface Case {
  name: string;
  value: Json;
  columns?: string[];
  kinds?: Record<string, string>;
  limit?: number;
  table: object;
}

// tests/notebook/test_cells.py has the kernel lay out the same
test.each(cases as unknown as Case[])('$name', ({ value, columns, kinds, limit = 1000, table }) => {
  expect(tableOf(value, layout(columns, kinds), limit)).toEqual(table);
});

test('a long text is cut at a whole character', () => {
  expect(safeText('😀'.repeat(500))).toBe('😀'.repeat(500));
  expect(safeText('😀'.repeat(501))).toBe(`${'😀'.repeat(500)}…`);
  expect((cell('x'.repeat(1_000_000)) as string).length).toBe(501);
  expect(cell({ a: 'x'.repeat(1_000_000) })).toMatch(/^\{"a": "x+…$/);
});

test('objects that only look special are as they are', () => {
  expect(cell({ $integer: '!' })).toBe('{"$integer": "!"}');
  expect(cell({ $other: 'AAA=' })).toBe('{"$other": "AAA="}');
  expect(cell({ $bytes: 'AAA=', more: 1 })).toBe('{"$bytes": "AAA=", "more": 1}');
  expect(cell({ constructor: 'x' })).toBe('{"constructor": "x"}');
});

test('a known total counts the rows that are not here', () => {
  expect(tableOf([{ a: 1 }], layout(), 10, 40).total).toBe(40);
});

test('rows that have not changed stay the same arrays, wherever they are now', () => {
  const documents = (...ids: string[]) => ids.map(id => ({ _id: id, more: { n: id.length } }));
  const before = tableOf(documents('a', 'b', 'c'), layout(), 10);
  const now = tableOf(documents('new', 'a', 'c'), layout(), 10, 0, before);
  expect(now.rows[1]).toBe(before.rows[0]);
  expect(now.rows[2]).toBe(before.rows[2]);
  const changed = tableOf([{ _id: 'a', more: { n: 2 } }], layout(), 10, 0, now);
  expect(changed.rows[0]).not.toBe(now.rows[1]);
  const plain = tableOf([{ n: 1 }, { n: 2 }], layout(), 10);
  expect(tableOf([{ n: 1 }, { n: 3 }], layout(), 10, 0, plain).rows.map((row, i) => row === plain.rows[i])).toEqual([true, false]);
});
