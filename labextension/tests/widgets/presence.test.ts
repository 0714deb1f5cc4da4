import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { below, join, joinOnce } from '../../src/connection/joining';
import { PeopleBar, readPeople, type PeopleState } from '../../src/views/people';
import widget from '../../src/widgets/presence';
import { FakeModel, FakeSocket } from '../fakes';

const ADA = { user: 'a', name: 'Ada Lovelace', initials: 'AL', color: '#336699', guest: false, sessions: 2 };
const GRACE = { user: 'g', name: 'Grace Hopper', initials: 'GH', color: '#993366', guest: false, sessions: 1 };

const open = (url: string) => new FakeSocket(url) as unknown as WebSocket;
const state = (more: Partial<PeopleState>): PeopleState => ({
  people: [ADA, GRACE],
  room: 'report',
  status: 'live',
  message: '',
  most: 5,
  me: '',
  ...more,
});

function config(base: unknown): void {
  document.body.innerHTML = `<script id="jupyter-config-data" type="application/json">${JSON.stringify({ baseUrl: base })}</script>`;
}

beforeEach(() => {
  vi.useFakeTimers();
  FakeSocket.made = [];
  document.body.innerHTML = '';
});

afterEach(() => vi.useRealTimers());

test('everybody has an avatar with a name for the mouse and for screen readers', () => {
  const bar = new PeopleBar(document);
  bar.update(state({ me: 'a' }));
  const faces = [...bar.node.querySelectorAll<HTMLElement>('.nbr-avatar')];
  expect(faces.map(face => face.textContent)).toEqual(['AL', 'GH']);
  expect(faces.map(face => face.title)).toEqual(['Ada Lovelace (you) (2 tabs)', 'Grace Hopper']);
  expect(faces.map(face => face.getAttribute('aria-label'))).toEqual(faces.map(face => face.title));
  expect(bar.node.querySelector('ul')!.getAttribute('aria-label')).toBe('2 people in report');
  expect(faces[0]!.style.backgroundColor).not.toBe('');
});

test('more people than there is room for are a number with their names', () => {
  const people = Array.from({ length: 8 }, (_, n) => ({ ...GRACE, user: String(n), name: `P${n}` }));
  const bar = new PeopleBar(document);
  bar.update(state({ people }));
  const faces = [...bar.node.querySelectorAll<HTMLElement>('.nbr-avatar')];
  expect(faces).toHaveLength(6);
  expect(faces[5]!.textContent).toBe('+3');
  expect(faces[5]!.title).toBe('3 more: P5, P6, P7');
});

test('what people call themselves is text, and a colour is a colour', () => {
  const evil = '<img src=x onerror=alert(1)>';
  const bar = new PeopleBar(document);
  const people = readPeople([{ user: 1, name: evil, initials: '<b', color: 'url(https://x)', sessions: 'x' }, null, 'x']);
  bar.update(state({ people, room: evil }));
  expect(bar.node.querySelector('img')).toBeNull();
  const face = bar.node.querySelector<HTMLElement>('.nbr-avatar')!;
  expect([face.textContent, face.title, face.style.backgroundColor]).toEqual(['<b', evil, '']);
  expect(bar.node.querySelectorAll('.nbr-avatar')).toHaveLength(1);
});

test('an empty room and a lost connection are said', () => {
  const bar = new PeopleBar(document);
  const note = bar.node.querySelector<HTMLElement>('.nbr-people-note')!;
  bar.update(state({ people: [] }));
  expect(note.textContent).toBe('nobody here');
  bar.update(state({ status: 'reconnecting' }));
  expect([note.textContent, note.hidden]).toEqual(['reconnecting', false]);
  bar.update(state({}));
  expect(note.hidden).toBe(true);
});

test('joining beats, comes back after a lost connection with new numbers, and ends with the connection', () => {
  const users: string[] = [];
  const leave = join({ url: 'ws://h/x', room: 'r', data: { at: 1 }, joined: u => users.push(u), failed: vi.fn() }, open);
  const [first] = FakeSocket.made;
  first!.onopen();
  expect(first!.sent[0]).toMatchObject({ type: 'Connect', connectionCount: 0 });
  expect(first!.sent[1]).toMatchObject({ udfPath: 'nbreactive/presence:join', args: [{ room: 'r', data: { at: 1 } }] });
  first!.onmessage({ data: 'not JSON' });
  first!.onmessage({ data: JSON.stringify({ type: 'MutationResponse', success: true, result: { user: 'a' } }) });
  expect(users).toEqual(['a']);
  vi.advanceTimersByTime(11_000);
  expect(first!.calls()).toEqual(['nbreactive/presence:join', ...Array(2).fill('nbreactive/presence:heartbeat')]);
  first!.close();
  vi.advanceTimersByTime(1_000);
  const second = FakeSocket.made[1]!;
  second.onopen();
  const session = (message: Record<string, unknown>) => (message['args'] as { session: string }[])[0]!.session;
  expect(session(second.sent[1]!)).toBe(session(first!.sent[1]!));
  expect(second.sent[1]!['requestId']).toBeGreaterThan(first!.sent.at(-1)!['requestId'] as number);
  leave();
  vi.advanceTimersByTime(60_000);
  expect(FakeSocket.made).toHaveLength(2);
  expect(second.readyState).toBe(3);
});

test('two bars of a page are one session, which ends with the last of them', () => {
  const users: string[] = [];
  const place = (room: string, name: string) => ({ url: 'ws://h/x', room, data: null, joined: (u: string) => users.push(name + u), failed: vi.fn() });
  const [one, two] = [joinOnce(place('r', '1'), open), joinOnce(place('r', '2'), open)];
  const other = joinOnce(place('other', '3'), open);
  expect(FakeSocket.made).toHaveLength(2);
  const [socket] = FakeSocket.made;
  socket!.onopen();
  socket!.onmessage({ data: JSON.stringify({ type: 'MutationResponse', success: true, result: { user: 'ada' } }) });
  const three = joinOnce(place('r', '4'), open);
  expect(users).toEqual(['1ada', '2ada', '4ada']);
  one();
  one();
  three();
  expect(socket!.readyState).toBe(1);
  two();
  expect(socket!.readyState).toBe(3);
  joinOnce(place('r', '5'), open)();
  other();
  expect(FakeSocket.made).toHaveLength(3);
});

test('who is never answered asks for help', () => {
  const failed = vi.fn();
  join({ url: 'ws://h/x', room: 'r', data: null, joined: vi.fn(), failed }, open);
  for (let attempt = 0; attempt < 3; attempt++) {
    FakeSocket.made.at(-1)!.close();
    vi.advanceTimersByTime(10_000);
  }
  expect(failed).toHaveBeenCalledOnce();
  expect(FakeSocket.made).toHaveLength(3);
});

test('the backend is looked for at the server of this page only', () => {
  expect(below(document, 'nbreactive/api/sync')).toBeNull();
  config('/user/al/');
  const here = document.location.host;
  expect(below(document, 'nbreactive/api/sync')).toBe(`ws://${here}/user/al/nbreactive/api/sync`);
  expect(below(document, '')).toBeNull();
  config('https://elsewhere.example/');
  expect(below(document, 'nbreactive/api/sync')).toBeNull();
  config(7);
  expect(below(document, 'nbreactive/api/sync')).toBeNull();
});

test('without a server of its own the page asks the kernel, once for all its views, as long as there are any', () => {
  const model = new FakeModel({ people: [ADA], room: 'r', status: 'live', message: '', most: 5, joins: true, data: null, sync: '' });
  const { render } = widget() as unknown as { render: (props: never) => void };
  const show = () => {
    const stop = new AbortController();
    const el = document.createElement('div');
    render({ model, el, signal: stop.signal } as never);
    return { el, stop };
  };
  const one = show();
  const two = show();
  expect(model.sent.at(-1)).toEqual({ type: 'views', count: 2, relay: true });
  model.set({ people: [ADA, GRACE] });
  expect(two.el.querySelectorAll('.nbr-avatar')).toHaveLength(2);
  one.stop.abort();
  expect(model.sent.at(-1)).toEqual({ type: 'views', count: 1, relay: true });
  two.stop.abort();
  expect(model.sent.at(-1)).toEqual({ type: 'views', count: 0, relay: false });
});
