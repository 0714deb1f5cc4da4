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
  expect(el.querySelector('td')?.textContent).toBe('hi');
  model.set({ table: { columns: ['body'], rows: [['hi'], ['there']], total: 2 } });
  await vi.waitFor(() => expect(el.querySelectorAll('td').length).toBe(2));
  model.set({ status: 'reconnecting' });
  await vi.waitFor(() => expect(el.querySelector<HTMLElement>('.nbr-live')!.dataset.status).toBe('reconnecting'));
});

test('tells the kernel how many views there are', () => {
  const first = show();
  const second = show();
  first.stop.abort();
  second.stop.abort();
  expect(model.sent).toEqual([1, 2, 1, 0].map(count => ({ type: 'views', count })));
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
  expect(document.activeElement).toBe(el.querySelector('.nbr-scroll'));
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
