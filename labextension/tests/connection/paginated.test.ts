import { beforeEach, expect, test } from 'vitest';
import { Pages } from '../../src/connection/paginated';
import type { Json } from '../../src/connection/page';
import { FakeBackend } from '../fakes';

let backend: FakeBackend;
let rows: Json[] | null;
let more: string;
let message: string;
let pages: Pages;

beforeEach(() => {
  [backend, rows, more, message] = [new FakeBackend(), null, '', ''];
  pages = new Pages(backend, 'posts:list', { author: 'a' }, 2, {
    rows: (now, left) => ([rows, more, message] = [[...now], left, '']),
    failed: said => (message = said),
    linked: () => undefined,
  });
});

const opts = (at: number) => backend.asked[at]!.args['paginationOpts'] as { [name: string]: Json };
async function answer(at: number, page: Json[], rest: { [name: string]: Json } = {}) {
  backend.asked[at]!.hearing.value({ page, isDone: false, continueCursor: `after ${page.at(-1)}`, ...rest });
  await Promise.resolve();
}

test('pages are loaded one after the other, and each stays live', async () => {
  expect(backend.asked[0]).toMatchObject({ path: 'posts:list', args: { author: 'a' } });
  expect(opts(0)).toMatchObject({ numItems: 2, cursor: null });
  pages.more(); // not before the first is there
  await answer(0, [1, 2]);
  expect([rows, more]).toEqual([[1, 2], 'more']);
  pages.more();
  pages.more(); // one at a time
  await Promise.resolve();
  expect([rows, more]).toEqual([[1, 2], 'loading']);
  expect(backend.asked.length).toBe(2);
  expect(opts(1)).toEqual({ numItems: 2, cursor: 'after 2', id: opts(0)['id'] });
  await answer(1, [3], { isDone: true });
  expect([rows, more]).toEqual([[1, 2, 3], '']);
  await answer(0, [0, 1, 2]);
  expect(rows).toEqual([0, 1, 2, 3]);
  pages.more();
  expect(backend.asked.length).toBe(2);
  pages.close();
  expect(backend.asked.every(({ stopped }) => stopped)).toBe(true);
});

test('what changed together is told together', async () => {
  await answer(0, [1, 2]);
  pages.more();
  await answer(1, [3, 4]);
  const told: (Json[] | null)[] = [];
  void answer(0, [1, 2, 3]);
  told.push(rows);
  await answer(1, [4]);
  told.push(rows);
  expect(told).toEqual([
    [1, 2, 3, 4],
    [1, 2, 3, 4],
  ]);
});

test('a page that has grown is replaced by its halves, once both are there', async () => {
  await answer(0, [1, 2]);
  await answer(0, [1, 2, 3, 4, 5], { splitCursor: 'after 3', continueCursor: 'after 5' });
  expect(rows).toEqual([1, 2, 3, 4, 5]);
  expect(opts(1)).toMatchObject({ cursor: null, endCursor: 'after 3' });
  expect(opts(2)).toMatchObject({ cursor: 'after 3', endCursor: 'after 5' });
  await answer(1, [1, 2, 3], { continueCursor: 'after 3' });
  expect(backend.asked[0]!.stopped).toBe(false);
  await answer(2, [4, 5], { continueCursor: 'after 5' });
  expect(backend.asked[0]!.stopped).toBe(true);
  expect([rows, more]).toEqual([[1, 2, 3, 4, 5], 'more']);
  pages.more();
  expect(opts(3)).toMatchObject({ cursor: 'after 5' });
});

test('a cursor that is none any more means to begin again, keeping the rows meanwhile', async () => {
  await answer(0, [1, 2]);
  pages.more();
  backend.asked[1]!.hearing.failed('{"isConvexSystemError":true,"paginationError":"InvalidCursor"}');
  await Promise.resolve();
  expect(rows).toEqual([1, 2]);
  expect(backend.asked.slice(0, 2).every(({ stopped }) => stopped)).toBe(true);
  expect(opts(2)['cursor']).toBeNull();
  expect(opts(2)['id']).not.toBe(opts(0)['id']);
  await answer(2, [7]);
  expect(rows).toEqual([7]);
});

test('errors are told, and what is no page is one', async () => {
  backend.asked[0]!.hearing.failed('no');
  await Promise.resolve();
  expect(message).toBe('no');
  backend.asked[0]!.hearing.value([1]);
  await Promise.resolve();
  expect(message).toContain('does not return a page');
  await answer(0, [1]);
  expect([rows, message]).toEqual([[1], '']);
});
