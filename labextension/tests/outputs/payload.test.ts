import { expect, test } from 'vitest';
import { readPayload, readTable } from '../../src/outputs/payload';

test('a payload becomes a snapshot', () => {
  const state = readPayload({
    v: 1,
    path: 'chat:list_messages',
    args: { limit: 3 },
    table: { columns: ['body'], rows: [['hi']], total: 40 },
    renderedAt: 5,
  });
  expect(state).toMatchObject({
    status: 'snapshot',
    title: 'chat:list_messages',
    updated: 5,
    table: { columns: ['body'], rows: [['hi']], total: 40 },
  });
});

test.each([null, undefined, 'text', 7, [], { v: 2 }, {}])('%j is not a payload', data => {
  expect(readPayload(data)).toBeNull();
});

test.each([
  [{ columns: 'abc', rows: 7, total: 'x' }, { columns: [], rows: [], total: 0 }],
  [{ columns: [1, null], rows: [{ length: 5 }, [1, 2, 3]] }, { columns: ['1', 'null'], rows: [[], [1, 2]], total: 2 }],
  [{ columns: ['a'], rows: [[1], [2]], total: -1 }, { columns: ['a'], rows: [[1], [2]], total: 2 }],
  [null, { columns: [], rows: [], total: 0 }],
])('a table of any shape is read safely: %j', (data, table) => {
  expect(readTable(data)).toEqual(table);
});

test('the file of a stranger cannot flood the page', () => {
  const table = {
    columns: Array.from({ length: 500 }, (_, i) => `c${i}`),
    rows: Array.from({ length: 5000 }, () => Array(500).fill(1)),
  };
  const saved = readPayload({ v: 1, table })!.table;
  expect([saved.columns.length, saved.rows.length, saved.rows[0]!.length]).toEqual([200, 1000, 200]);
  expect(readTable(table).rows.length).toBe(5000);
});
