import { expect, test } from 'vitest';
import { editText, isWhole, parse, type Field } from '../../../src/views/table/parsing';

const field = (kind: Field['kind'], nullable = false): Field => ({ kind, nullable, options: [] });

test.each([
  ['number', '3.5', 3.5],
  ['number', '-1e3', -1000],
  ['number', '1,234.5', 1234.5],
  ['integer', ' 7 ', 7],
  ['text', ' as it is ', ' as it is '],
  ['text', '', ''],
  ['boolean', 'Yes', true],
  ['json', '{"a": [1]}', { a: [1] }],
  ['int64', '9007199254740993', { $integer: 'AQAAAAAAIAA=' }],
  ['datetime', '1970-01-01T00:00:01Z', 1000],
  ['datetime', '1970-01-02 00:00 +00:00', 86_400_000],
  ['id', 'j57', 'j57'],
] as const)('%s takes %s', (kind, text, value) => {
  expect(parse(text, field(kind), null)).toEqual({ value });
});

test.each([
  ['number', 'twelve', 'a number, e.g. 3.5, not “twelve”'],
  ['integer', '2.5', 'a whole number, e.g. 3, not “2.5”'],
  ['integer', '', 'a whole number, e.g. 3; it cannot be empty'],
  ['integer', '99999999999999999999', 'too large to be exact'],
  ['int64', '9223372036854775808', 'a whole number'],
  ['boolean', 'maybe', 'true or false, not “maybe”'],
  ['datetime', '23.11.2026', 'a date and a time, e.g. 2026-11-23 14:30, not “23.11.2026”'],
  ['json', '{a}', 'JSON, e.g. ["a", 1]: '],
] as const)('%s says what is wrong with %s', (kind, text, problem) => {
  expect((parse(text, field(kind), null) as { problem: string }).problem).toContain(problem);
});

test('a field of any kind keeps the kind of what it has, and nothing is null where that is allowed', () => {
  expect(parse('5', field(''), 'four')).toEqual({ value: '5' });
  expect(parse('5', field(''), 4)).toEqual({ value: 5 });
  expect(parse('[5]', field(''), null)).toEqual({ value: [5] });
  expect(parse('five', field(''), null)).toEqual({ value: 'five' });
  expect(parse('', field('number', true), 4)).toEqual({ value: null });
});

test('what is edited is what was there', () => {
  const at = Date.UTC(2026, 10, 23, 14, 30, 5, 120);
  expect(parse(editText(at, field('datetime')), field('datetime'), at)).toEqual({ value: at });
  expect(editText({ a: 1 }, field('json'))).toBe('{"a":1}');
  expect([isWhole('x'), isWhole({ $cut: 'x…' }), isWhole({ $bytes: '' })]).toEqual([true, false, false]);
});
