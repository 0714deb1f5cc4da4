import { expect, test } from 'vitest';
import { describeSchedule } from '../../src/panel/pages/jobs';
import { describeCounts } from '../../src/panel/pages/history';
import { bytes, describeFields, duration, moment, parseLoose, parseObject } from '../../src/panel/values';

test('sizes and times are short', () => {
  expect([0, 999, 1500, 2.5e6, 123e9].map(bytes)).toEqual(['0 B', '999 B', '1.5 kB', '2.5 MB', '123 GB']);
  expect([0.04, 3.21, 12.3, 1400].map(duration)).toEqual(['0.0 ms', '3.2 ms', '12 ms', '1.4 s']);
  expect(moment(Date.UTC(2026, 0, 2, 3, 4, 5), Date.UTC(2026, 0, 2))).toBe('03:04:05');
  expect(moment(Date.UTC(2026, 0, 2, 3, 4, 5), Date.UTC(2026, 5, 2))).toBe('2026-01-02 03:04:05');
  expect(moment(undefined)).toBe('');
});

test('what is typed is JSON, or a word', () => {
  expect(['2', '"2"', 'Oslo', 'null'].map(parseLoose)).toEqual([2, '2', 'Oslo', null]);
  expect(() => parseObject('3')).toThrow('expected an object');
});

test('validators are told of in few words', () => {
  const fields = {
    type: 'object',
    value: {
      author: { fieldType: { type: 'id', tableName: 'users' }, optional: false },
      tags: { fieldType: { type: 'array', value: { type: 'string' } }, optional: true },
      kind: { fieldType: { type: 'union', value: [{ type: 'literal', value: 'a' }, { type: 'null' }] }, optional: false },
    },
  };
  expect(describeFields(fields)).toBe('author: Id<users>, tags?: string[], kind: "a" | null');
});

test('schedules and commits are said in words', () => {
  expect(describeSchedule({ type: 'interval', minutes: 5 })).toBe('every 5 minutes');
  expect(describeSchedule({ type: 'cron', cronExpr: '0 2 * * *' })).toBe('0 2 * * *');
  expect(describeCounts({ orders: { inserted: 2, changed: 0, deleted: 1 } })).toBe('orders: 2 inserted, 1 deleted');
});
