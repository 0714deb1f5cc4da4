import { expect, test } from 'vitest';
import { describe as said, fits, labelOf, missing, placeOf, readShape, readText, writeText, type Shape } from '../../src/views/form_values';

const INTEGER = { type: 'number', nbreactive: 'integer' };

test('the JSON of every validator is read, and whatever is not known can be anything', () => {
  const kinds = [
    [{ type: 'string' }, 'string'],
    [{ type: 'number' }, 'number'],
    [INTEGER, 'integer'],
    [{ type: 'number', nbreactive: 'datetime' }, 'datetime'],
    [{ type: 'number', nbreactive: 'of a later version' }, 'number'],
    [{ type: 'bigint' }, 'int64'],
    [{ type: 'boolean' }, 'boolean'],
    [{ type: 'null' }, 'null'],
    [{ type: 'bytes' }, 'bytes'],
    [{ type: 'any' }, 'any'],
    [{ type: 'new' }, 'any'],
    ['nonsense', 'any'],
  ] as const;
  expect(kinds.map(([json]) => readShape(json).kind)).toEqual(kinds.map(([, kind]) => kind));
  expect(readShape({ type: 'object', value: { a: { fieldType: { type: 'id', tableName: 'posts' }, optional: true } } })).toEqual({
    kind: 'object',
    fields: [{ name: 'a', shape: { kind: 'id', table: 'posts' }, optional: true }],
  });
  let deep: object = { type: 'string' };
  for (let i = 0; i < 1_000; i++) {
    deep = { type: 'array', value: deep };
  }
  expect(readShape(deep).kind).toBe('array');
});

test.each([
  ['number', '1.5', 1.5],
  ['number', ' -2e3 ', -2000],
  ['number', '-0', 0],
  ['integer', '7', 7],
  ['int64', '9223372036854775807', { $integer: '/////////38=' }],
  ['int64', '-1', { $integer: '//////////8=' }],
  ['string', ' as it is ', ' as it is '],
  ['any', '{"a": [1, null]}', { a: [1, null] }],
] as const)('%s %s', (kind, text, value) => {
  const shape = { kind } as Shape;
  expect(readText(shape, text)).toEqual({ value });
  expect(readText(shape, writeText(shape, value as never))).toEqual({ value });
});

test('what is wrong is said as the server says it', () => {
  const problem = (shape: Shape, text: string) => (readText(shape, text) as { problem: string }).problem;
  expect(problem({ kind: 'number' }, 'abc')).toBe("expected a number, got the string 'abc'");
  expect(problem({ kind: 'number' }, 'Infinity')).toBe("expected a number, got the string 'Infinity'");
  expect(problem({ kind: 'number' }, "it's")).toBe('expected a number, got the string "it\'s"');
  expect(problem({ kind: 'integer' }, '1.5')).toBe('expected a whole number, got the number 1.5');
  expect(problem({ kind: 'int64' }, '9223372036854775808')).toContain('expected a 64-bit integer');
  expect(problem({ kind: 'any' }, '{')).toContain('not JSON');
  expect(missing({ kind: 'id', table: 'posts' })).toBe("is missing; expected an id of the table 'posts'");
  expect(said('x'.repeat(100))).toBe(`the string '${'x'.repeat(37)}...'`);
});

test('a datetime is in the time zone of whoever types', () => {
  const moment = new Date(2026, 10, 23, 12, 30, 5).getTime();
  expect(readText({ kind: 'datetime' }, '2026-11-23T12:30:05')).toEqual({ value: moment });
  expect(writeText({ kind: 'datetime' }, moment)).toBe('2026-11-23T12:30:05');
});

test('members of a union are told apart by what a value is', () => {
  const object = readShape({ type: 'object', value: { kind: { fieldType: { type: 'literal', value: 'a' }, optional: false } } });
  expect(fits(object, { kind: 'a' })).toBe(true);
  expect(fits(object, { kind: 'b' })).toBe(false);
  expect(fits(object, {})).toBe(false);
  expect(fits({ kind: 'null' }, null)).toBe(true);
  expect(fits({ kind: 'int64' }, { $integer: 'AQAAAAAAAAA=' })).toBe(true);
});

test('messages of the server belong to a field', () => {
  expect(placeOf("ArgumentValidationError: args.limit: expected a number, got the string 'x'\nPath: .limit")).toEqual({
    steps: ['limit'],
    message: "expected a number, got the string 'x'",
  });
  expect(placeOf("args.items[3].price: no")?.steps).toEqual(['items', 3, 'price']);
  expect(placeOf("args['two words'][0]: no")?.steps).toEqual(['two words', 0]);
  expect(placeOf('ValueError: args are bad')).toBeNull();
});

test('names of arguments are written as people write', () => {
  expect(['first_name', 'postId', 'x', '_'].map(labelOf)).toEqual(['First name', 'Post id', 'X', '_']);
});
