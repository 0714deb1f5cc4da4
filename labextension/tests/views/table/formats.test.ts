import { expect, test } from 'vitest';
import { columnsOf, columnsOfTypes, Layout, type Kind } from '../../../src/views/table/columns';
import { tsv } from '../../../src/views/table/copying';
import { hoverText, linkOf, textOf } from '../../../src/views/table/formats';

const column = (kind: Kind, format = '') => columnsOf(['x'], [kind], [], { x: format })[0]!;

test('numbers and moments as people read them', () => {
  expect(textOf(0.1 + 0.2, column('number'))).toBe('0.3');
  expect(textOf(1234567.891, column('number', ',.2f'))).toBe('1,234,567.89');
  expect(textOf(0.1234, column('number', '.1%'))).toBe('12.3%');
  const at = new Date(2026, 10, 23, 14, 5, 9, 120).getTime();
  expect(textOf(at, column('datetime'))).toBe('2026-11-23 14:05:09');
  expect(['date', 'time', 'minutes', 'ms'].map(format => textOf(at, column('datetime', format)))).toEqual([
    '2026-11-23',
    '14:05:09',
    '2026-11-23 14:05',
    '2026-11-23 14:05:09.12',
  ]);
  expect(hoverText(at, column('datetime'), false)).toContain(new Date(at).toISOString());
  expect(hoverText(at, column('datetime'), false)).toContain(Intl.DateTimeFormat().resolvedOptions().timeZone);
});

test('what is hostile is text, short, and visible', () => {
  expect(textOf('x'.repeat(1_000_000), column('text')).length).toBe(501);
  expect(textOf('a\u202eb\u001b[31m', column('text'))).toBe('a\\u202eb\\u001b[31m');
  expect(hoverText('x'.repeat(1_000_000), column('text'), true).length).toBe(4_000);
});

test.each([
  ['https://example.org/a?b=1', 'https://example.org/a?b=1'],
  ['mailto:ada@example.org', 'mailto:ada@example.org'],
  ['javascript:alert(1)', null],
  ['JaVaScRiPt:alert(1)', null],
  [' javascript:alert(1)', null],
  ['data:text/html,<script>', null],
  ['https://', null],
  ['https://a\u202eb', null],
  ['see https://example.org', null],
  [5, null],
])('%s leads to %s', (value, expected) => {
  expect(linkOf(value)).toBe(expected);
});

test('columns of SQL are what their types say', () => {
  const types = ['BIGINT', 'DECIMAL(18,3)', 'TIMESTAMP WITH TIME ZONE', 'TIMESTAMP', 'BOOLEAN', 'INTEGER[]', 'VARCHAR'];
  expect(columnsOfTypes(types, types).map(({ kind }) => kind)).toEqual([
    'integer',
    'number',
    'datetime',
    'naive',
    'boolean',
    '',
    'text',
  ]);
});

test('a layout survives columns that come and go', () => {
  const layout = new Layout();
  const names = (...all: string[]) => layout.shown(columnsOf(all, undefined, [])).map(({ name }) => name);
  layout.move(columnsOf(['a', 'b', 'c'], undefined, []), 'c', 'a');
  expect(names('a', 'b', 'c')).toEqual(['c', 'a', 'b']);
  expect(names('a', 'new', 'b', 'c')).toEqual(['c', 'a', 'new', 'b']);
  layout.hidden.add('a');
  expect(names('a', 'b', 'c')).toEqual(['c', 'b']);
});

test('cells are copied as tab separated values', () => {
  const columns = columnsOf(['a', 'b'], ['text', 'number'], []);
  expect(tsv([['x\ty', 0.1 + 0.2], ['"q"', null]], columns)).toBe('"x\ty"\t0.30000000000000004\n"""q"""\t');
});
