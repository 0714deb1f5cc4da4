import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { offer } from '../../src/connection/page';
import { readCursors } from '../../src/views/remote_cursors';
import widget from '../../src/widgets/text_editor';
import { FakeBackend, FakeModel } from '../fakes';

const BOB = { name: '<b>Bob</b>', color: '#993366', sessions: [{ id: 's-bob', data: { at: [4, 7] } }] };
const ME = { name: 'Ada', color: '#336699', sessions: [{ id: 's-me', data: { at: [0, 0] } }] };

let model: FakeModel;
let backend: FakeBackend;
let el: HTMLElement;
let stop: AbortController;

function show(mount: string): void {
  model = new FakeModel({
    load: 'docs:get',
    save: 'docs:update',
    history: 'docs:history',
    args: { id: 'd1' },
    options: { label: 'Notes', rows: 5, field: 'content', version: 'version', author: 'author' },
    room: 'docs d1',
    place: { mount, url: '' },
    document: {},
    people: {},
    edits: [],
  });
  stop = new AbortController();
  el = document.createElement('div');
  document.body.append(el);
  widget().render({ model, el, signal: stop.signal } as never);
}

const area = () => el.querySelector('textarea')!;
const status = () => el.querySelector('.nbr-editor-state')!.textContent;
const button = (name: string) => [...el.querySelectorAll('button')].find(each => each.textContent === name)!;
function type(text: string): void {
  area().value = text;
  area().dispatchEvent(new Event('input'));
}
const follows = (path: string) => backend.asked.find(asked => asked.path === path && !asked.stopped)!;

beforeEach(() => {
  vi.useFakeTimers();
  backend = new FakeBackend();
  offer({ backend: mount => (mount === 'nbreactive' ? backend : (null as never)) });
});
afterEach(() => {
  stop.abort();
  vi.useRealTimers();
  document.body.replaceChildren();
});

test('the page loads, saves with the version, and stops when it goes', async () => {
  show('nbreactive');
  expect([area().readOnly, el.querySelector('label')!.htmlFor === area().id]).toEqual([true, true]);
  expect(follows('docs:get').args).toEqual({ id: 'd1' });
  follows('docs:get').hearing.value({ content: 'one two', version: 3 });
  expect([area().value, area().readOnly, status()]).toEqual(['one two', false, 'saved']);
  type('one two three');
  await vi.advanceTimersByTimeAsync(500);
  expect(backend.calls.filter(({ path }) => path === 'docs:update').map(({ args }) => args)).toEqual([
    { id: 'd1', content: 'one two three', version: 3 },
  ]);
  stop.abort();
  expect(backend.asked.every(({ stopped }) => stopped)).toBe(true);
  expect(backend.calls.at(-1)!.path).toBe('nbreactive/presence:leave');
});

test('an empty document can be written', () => {
  show('nbreactive');
  follows('docs:get').hearing.value({});
  expect(area().readOnly).toBe(true);
  follows('docs:get').hearing.value({ content: '', version: 0 });
  expect(area().readOnly).toBe(false);
});

test('others are in the text where their carets are, and their names are text', async () => {
  backend.answer = { user: 'ada', session: 's-me' };
  show('nbreactive');
  follows('docs:get').hearing.value({ content: 'one two', version: 1 });
  await vi.advanceTimersByTimeAsync(0);
  follows('nbreactive/presence:list').hearing.value([ME, BOB]);
  const others = el.querySelector('.nbr-editor-others')!;
  expect(others.querySelector('mark')!.textContent).toBe('two');
  expect([...others.querySelectorAll('.nbr-editor-flag')].map(flag => flag.textContent)).toEqual(['<b>Bob</b>']);
  expect(others.querySelector('b')).toBeNull();
  expect(el.querySelector('.nbr-editor-people')!.textContent).toBe('also here: <b>Bob</b>');
  follows('docs:get').hearing.value({ content: 'zero one two', version: 2 });
  expect(others.querySelector('mark')!.textContent).toBe('two'); // until Bob says where he is now
  area().setSelectionRange(3, 3);
  area().dispatchEvent(new Event('keyup'));
  await vi.advanceTimersByTimeAsync(100);
  expect(backend.calls.at(-1)).toMatchObject({ path: 'nbreactive/presence:heartbeat', args: { data: { at: [3, 3] } } });
});

test('two versions are shown, and one of them chosen with the keyboard', async () => {
  show('nbreactive');
  follows('docs:get').hearing.value({ content: 'one two', version: 1 });
  type('one mine');
  follows('docs:get').hearing.value({ content: 'one theirs', version: 2 });
  const conflict = el.querySelector<HTMLElement>('.nbr-editor-conflict')!;
  expect([conflict.hidden, conflict.querySelector('pre')!.textContent]).toEqual([false, 'one theirs']);
  button('Take theirs').click();
  expect([conflict.hidden, area().value, document.activeElement === area()]).toEqual([true, 'one theirs', true]);
});

test('an earlier version is listed while one looks, and can be restored', async () => {
  show('nbreactive');
  follows('docs:get').hearing.value({ content: 'now', version: 2 });
  const details = el.querySelector('details')!;
  details.open = true;
  details.dispatchEvent(new Event('toggle'));
  follows('docs:history').hearing.value([{ content: 'before', version: 1, author: 'Ada', timestamp: 0 }, { other: 1 }]);
  expect(el.querySelectorAll('li')).toHaveLength(1);
  expect(el.querySelector('li')!.textContent).toContain('version 1 · Ada');
  button('Restore').click();
  await vi.advanceTimersByTimeAsync(0);
  expect(backend.calls.at(-1)).toMatchObject({ path: 'docs:update', args: { content: 'before', version: 2 } });
  details.open = false;
  details.dispatchEvent(new Event('toggle'));
  expect(follows('docs:history')).toBeUndefined();
});

test('without a server of its own the page goes through the kernel', async () => {
  show('');
  expect(model.sent).toContainEqual({ type: 'relay', open: true });
  model.set({ document: { content: 'one', version: 1 }, people: { list: [ME, BOB], mine: 's-me' } });
  expect(area().value).toBe('one');
  expect(el.querySelectorAll('.nbr-editor-flag')).toHaveLength(1);
  type('one two');
  await vi.advanceTimersByTimeAsync(500);
  const call = model.sent.find(message => (message as { type: string }).type === 'call') as { id: string };
  expect(call).toMatchObject({ args: { id: 'd1', content: 'one two', version: 1 } });
  model.say({ type: 'answer', id: call.id, value: null });
  await vi.advanceTimersByTimeAsync(0);
  expect(status()).toBe('saved');
  area().setSelectionRange(2, 2);
  area().dispatchEvent(new Event('keyup'));
  await vi.advanceTimersByTimeAsync(100);
  expect(model.sent).toContainEqual({ type: 'cursor', at: [2, 2] });
  stop.abort();
  expect(model.sent).toContainEqual({ type: 'relay', open: false });
});

test('cursors that make no sense are none', () => {
  const person = (at: unknown, color = 'url(x)') => ({ name: 7, color, sessions: [{ id: 'x', data: { at } }, null, { id: 'y' }] });
  expect(readCursors([person([9, -1]), person('here'), null], '')).toEqual([
    { key: 'x', name: 'Somebody', color: '#777777', from: 0, to: 9 },
  ]);
  expect(readCursors('nobody', '')).toEqual([]);
});
