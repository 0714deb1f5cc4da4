import { beforeEach, expect, test, vi } from 'vitest';
import widget from '../../src/widgets/live_table';
import { FakeModel } from '../fakes';

let model: FakeModel;
let render: (props: never) => void;

function show() {
  const el = document.createElement('div');
  const stop = new AbortController();
  render({ model, el, signal: stop.signal } as never);
  return { el, stop };
}

beforeEach(() => {
  model = new FakeModel({
    table: { columns: ['body'], rows: [['hi']], total: 1 },
    status: 'live',
    message: '',
    title: 'messages',
    badge: '',
    dimmed: false,
    updated: 0,
  });
  render = widget().render as never;
});

test('paints at once, and again on every change', async () => {
  const { el } = show();
  expect(el.querySelector('[role=gridcell]')?.textContent).toBe('hi');
  model.set({ table: { columns: ['body'], rows: [['hi'], ['there']], total: 2 } });
  await vi.waitFor(() => expect(el.querySelectorAll('[role=gridcell]').length).toBe(2));
  model.set({ status: 'reconnecting' });
  await vi.waitFor(() => expect(el.querySelector<HTMLElement>('.nbr-live')!.dataset.status).toBe('reconnecting'));
});

test('tells the kernel how many views there are', () => {
  const first = show();
  const second = show();
  first.stop.abort();
  second.stop.abort();
  expect(model.sent).toMatchObject([1, 2, 1, 0].map(count => ({ type: 'views', count })));
});

test('a view that has gone listens no more', async () => {
  const { el, stop } = show();
  stop.abort();
  expect(el.children.length).toBe(0);
  model.set({ status: 'closed' });
  await Promise.resolve();
  expect(el.children.length).toBe(0);
});

test('loads more rows with a button, which a keyboard can press again and again', async () => {
  const { el } = show();
  document.body.append(el);
  const button = el.querySelector<HTMLButtonElement>('button.nbr-more')!;
  expect(button.hidden).toBe(true);
  model.set({ more: 'more' });
  await vi.waitFor(() => expect(button.hidden).toBe(false));
  expect(button.textContent).toBe('Load more');
  button.focus();
  button.click();
  const asked = () => model.sent.filter(message => (message as { type: string }).type === 'more').length;
  expect(asked()).toBe(1);
  model.set({ more: 'loading' });
  await vi.waitFor(() => expect(button.getAttribute('aria-disabled')).toBe('true'));
  button.click();
  expect(asked()).toBe(1);
  expect(document.activeElement).toBe(button);
  model.set({ more: '' });
  await vi.waitFor(() => expect(button.hidden).toBe(true));
  expect(document.activeElement).toBe(el.querySelector('[role=grid]'));
  el.remove();
});

test('a result of SQL is a grid, and other rows of a large one come by way of the kernel where a page cannot ask', async () => {
  const columns = [{ name: 'n', type: 'BIGINT' }];
  const rows = Array.from({ length: 200 }, (_, i) => [i]);
  model.set({
    frame: { columns, rows, offset: 0, total: 5000 },
    source: { path: '_system/sql:live', args: { hash: '0123456789abcdef0123456789abcdef', params: {} } },
    files: { mount: '', url: 'http://127.0.0.1:3210' },
  });
  const { el, stop } = show();
  expect(el.querySelector('[role=grid]')?.getAttribute('aria-rowcount')).toBe('5001');
  expect(el.querySelector<HTMLElement>('.nbr-count')?.textContent).toBe('5,000 rows × 1 column');
  expect(model.sent).toContainEqual({ type: 'window', offset: 0, limit: 300 });
  model.set({ window: { columns, rows: [[41], [42]], offset: 0, limit: 300, total: 2, complete: true } });
  await vi.waitFor(() => expect(el.querySelectorAll('[role=gridcell]').length).toBe(2));
  expect([...el.querySelectorAll('[role=gridcell]')].map(cell => cell.textContent)).toEqual(['41', '42']);
  // a small result needs no window
  model.set({ frame: { columns, rows: [[7]], offset: 0, total: 1 }, source: {} });
  await vi.waitFor(() => expect(el.querySelector('[role=gridcell]')?.textContent).toBe('7'));
  stop.abort();
});

test('changes of rows come as messages, and what got lost is asked for', async () => {
  model.set({ table: { columns: ['_id', 'n'], rows: [['a', 1], ['b', 2], ['c', 3]], total: 3, version: 4 } });
  const { el } = show();
  const texts = () => [...el.querySelectorAll('[role=gridcell][aria-colindex="2"]')].map(cell => cell.textContent);
  expect(model.sent).toEqual([{ type: 'views', count: 1, version: 4 }]);
  model.say({ type: 'rows', version: 5, total: 3, runs: [[0, 1, [['b', 20]]], [2, 1, []]] });
  await vi.waitFor(() => expect(texts()).toEqual(['1', '20', '3']));
  model.say({ type: 'rows', version: 5, total: 3, runs: [] }); // twice
  model.say({ type: 'rows', version: 7, total: 3, runs: [] });
  model.say({ type: 'rows', version: 8, total: 3, runs: [] });
  expect(model.sent.slice(1)).toEqual([{ type: 'again' }]);
  model.set({ table: { columns: ['_id', 'n'], rows: [['a', 8]], total: 1, version: 8 } });
  await vi.waitFor(() => expect(texts()).toEqual(['8']));
  model.say({ type: 'rows', version: 9, total: 2, runs: [[0, 1, [['d', 9]]]] });
  await vi.waitFor(() => expect(texts()).toEqual(['8', '9']));
});

test('an edit goes through the kernel where the page has no way to the backend', async () => {
  const edit = { path: 'posts:update', id: 'post_id', wrap: '', fields: { n: { kind: 'integer', nullable: false, options: [] } } };
  model.set({
    table: { columns: ['_id', 'n'], kinds: ['id', 'integer'], rows: [['a', 1]], total: 1, version: 1 },
    options: { edit, selection: 'one', formats: {}, height: 0 },
    selected: [],
    files: { mount: '', url: '' },
  });
  const { el } = show();
  document.body.append(el);
  const cell = () => el.querySelector<HTMLElement>('[role=gridcell][aria-colindex="3"]')!;
  cell().dispatchEvent(new MouseEvent('dblclick', { bubbles: true }));
  const input = el.querySelector<HTMLInputElement>('.nbr-editor input')!;
  expect(input.getAttribute('aria-label')).toBe('n of row 1');
  input.value = '2.5';
  const enter = () => input.dispatchEvent(new KeyboardEvent('keydown', { key: 'Enter', bubbles: true }));
  enter();
  expect(el.querySelector('.nbr-trouble')!.textContent).toBe('a whole number, e.g. 3, not “2.5”');
  input.value = '2';
  enter();
  expect(el.querySelector('.nbr-editor')).toBeNull();
  expect([cell().textContent, cell().classList.contains('nbr-pending')]).toEqual(['2', true]);
  const call = model.sent.at(-1) as { id: string };
  expect(call).toMatchObject({ type: 'call', document: 'a', field: 'n', value: 2 });
  model.say({ type: 'answer', id: call.id, error: 'too many' });
  await vi.waitFor(() => expect(cell().classList.contains('nbr-refused')).toBe(true));
  expect(cell().textContent).toBe('1');
  expect(el.querySelector('.nbr-bubble')!.textContent).toBe('too many');
  el.remove();
});
