import { ConvexError, type Value } from 'convex/values';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { ConvexBackend, pageOver, plainError, type Client, type Events } from '../../src/connection/backend';
import { backendOf, CallError, offer, type Hearing, type Trouble } from '../../src/connection/page';

type State = ReturnType<Client['connectionState']>;

/** Convex's client, as far as it is used: results are put by the test. */
class FakeClient {
  asked: { name: string; args: unknown }[] = [];
  results = new Map<string, Value | Error>();
  open = false;
  closed = false;
  retries = 0;
  stopped = 0;
  mutation = vi.fn(async (): Promise<Value> => null);
  action = vi.fn(async (): Promise<Value> => null);
  private _listeners: ((state: State) => void)[] = [];
  constructor(
    readonly address: string,
    readonly events: Events,
  ) {}
  subscribe(name: string, args: unknown) {
    this.asked.push({ name, args });
    return { queryToken: token(name, args) as never, unsubscribe: () => void this.stopped++ };
  }
  localQueryResult(name: string, args: unknown) {
    const result = this.results.get(token(name, args));
    if (result instanceof Error) {
      throw result;
    }
    return result;
  }
  connectionState() {
    return { isWebSocketConnected: this.open, connectionRetries: this.retries } as State;
  }
  subscribeToConnectionState(listener: (state: State) => void) {
    this._listeners.push(listener);
    return () => undefined;
  }
  async close() {
    this.closed = true;
  }
  link(open: boolean, retries = 0) {
    this.open = open;
    this.retries = retries;
    this._listeners.forEach(listener => listener(this.connectionState()));
  }
  put(name: string, args: object, result: Value | Error) {
    this.results.set(token(name, args), result);
    this.events.changed([token(name, args)]);
  }
}

const token = (name: string, args: unknown) => `${name} ${JSON.stringify(args, (_, value) => String(value) === '[object Object]' ? value : String(value))}`;
const hearing = () => ({ value: vi.fn(), failed: vi.fn(), linked: vi.fn() }) satisfies Hearing;
const turn = () => Promise.resolve();

let made: FakeClient[];
let why: Trouble;
let backend: ConvexBackend;

beforeEach(() => {
  vi.useFakeTimers();
  made = [];
  why = '';
  const connect = (address: string, events: Events) => {
    made.push(new FakeClient(address, events));
    return made.at(-1) as unknown as Client;
  };
  backend = new ConvexBackend('http://h/base/nbreactive/default', connect, async () => why);
});

afterEach(() => vi.useRealTimers());

test('all who follow something share one client, and hear what comes', async () => {
  const [a, b, other] = [hearing(), hearing(), hearing()];
  backend.follow('chat:list', { limit: 1 }, a);
  backend.follow('chat:list', { limit: 1 }, b);
  backend.follow('chat:list', { limit: 2 }, other);
  expect(made.length).toBe(1);
  expect(made[0]!.address).toBe('http://h/base/nbreactive/default');
  await turn();
  expect(a.linked).toHaveBeenLastCalledWith(false, '');
  made[0]!.link(true);
  expect(a.linked).toHaveBeenLastCalledWith(true, '');
  made[0]!.put('chat:list', { limit: 1 }, [{ n: 5n, raw: new ArrayBuffer(2) }]);
  const wire = [{ n: { $integer: 'BQAAAAAAAAA=' }, raw: { $bytes: 'AAA=' } }];
  expect(a.value).toHaveBeenCalledWith(wire);
  expect(b.value).toHaveBeenCalledWith(wire);
  expect(other.value).not.toHaveBeenCalled();
});

test('what is known already is told, but not before it is known how to stop', async () => {
  backend.follow('q', {}, hearing());
  made[0]!.link(true);
  made[0]!.put('q', {}, 'known');
  const late = hearing();
  const gone = hearing();
  backend.follow('q', {}, late);
  backend.follow('q', {}, gone)();
  expect(late.value).not.toHaveBeenCalled();
  await turn();
  expect(late.linked).toHaveBeenCalledWith(true, '');
  expect(late.value).toHaveBeenCalledWith('known');
  expect(gone.value).not.toHaveBeenCalled();
});

test('who has stopped hears nothing, and stops once', async () => {
  const [a, b] = [hearing(), hearing()];
  const stop = backend.follow('q', {}, a);
  backend.follow('q', {}, b);
  await turn();
  stop();
  stop();
  expect(made[0]!.stopped).toBe(1);
  made[0]!.put('q', {}, 1);
  expect(a.value).not.toHaveBeenCalled();
  expect(b.value).toHaveBeenCalledWith(1);
});

test('arguments are values of the wire; what is none is an error, and no more than that', async () => {
  const bad = hearing();
  backend.follow('q', { n: { $integer: 'BQAAAAAAAAA=' } }, hearing());
  expect(made[0]!.asked[0]!.args).toEqual({ n: 5n });
  backend.follow('q', { n: { $integer: 'nonsense' } }, bad)();
  await turn();
  expect(bad.failed).toHaveBeenCalledOnce();
  expect(made[0]!.asked.length).toBe(1);
});

test('errors are told without what servers and clients put around them', async () => {
  const heard = hearing();
  backend.follow('q', {}, heard);
  made[0]!.put('q', {}, new Error('[CONVEX Q(q)] [Request ID: a1] Server Error\nUncaught Error: no\n  Called by client'));
  expect(heard.failed).toHaveBeenLastCalledWith('Error: no');
  made[0]!.put('q', {}, new ConvexError({ code: 'NOT_FOUND', message: 'There is no such post' }));
  expect(heard.failed).toHaveBeenLastCalledWith('There is no such post');
  expect(plainError('[Request ID: a1] Server Error')).toBe('[Request ID: a1] Server Error');
});

test('calls give values, or an error with its data', async () => {
  const pending = backend.mutate('chat:send', { n: 1 });
  expect(made[0]!.mutation).toHaveBeenCalledWith('chat:send', { n: 1 }, undefined);
  expect(await pending).toBeNull();
  made[0]!.action.mockResolvedValueOnce(7n);
  expect(await backend.act('a:b', {})).toEqual({ $integer: 'BwAAAAAAAAA=' });
  made[0]!.mutation.mockRejectedValueOnce(new ConvexError({ code: 'NO' }));
  const failure = await backend.mutate('chat:send', {}).catch((error: unknown) => error);
  expect(failure).toBeInstanceOf(CallError);
  expect((failure as CallError).data).toEqual({ code: 'NO' });
  await expect(backend.mutate('chat:send', { n: { $integer: '!' } })).rejects.toBeInstanceOf(CallError);
});

test('an optimistic update sees and sets results in the form of the wire', async () => {
  const pending = backend.mutate('chat:send', {}, store => {
    expect(store.get('chat:none', {})).toBeUndefined();
    const list = store.get('chat:list', { limit: 1 }) as unknown[];
    store.set('chat:list', { limit: 1 }, [...list, { $integer: 'BQAAAAAAAAA=' }] as never);
  });
  const [, , options] = made[0]!.mutation.mock.calls[0] as unknown as [string, object, { optimisticUpdate: (s: object) => void }];
  const setQuery = vi.fn();
  options.optimisticUpdate({
    getQuery: (_: unknown, args: object) => (Object.keys(args).length > 0 ? [1n] : undefined),
    setQuery,
  });
  expect(setQuery.mock.calls[0]!.slice(1)).toEqual([{ limit: 1 }, [1n, 5n]]);
  await pending;
});

test('a connection without anything to do is closed after a while, and made anew for what comes next', async () => {
  const stop = backend.follow('q', {}, hearing());
  vi.advanceTimersByTime(60_000);
  expect(made[0]!.closed).toBe(false);
  stop();
  vi.advanceTimersByTime(20_000);
  const again = backend.follow('q', {}, hearing());
  vi.advanceTimersByTime(20_000);
  expect(made[0]!.closed).toBe(false);
  again();
  let answer: (value: Value) => void = () => undefined;
  made[0]!.action.mockReturnValueOnce(new Promise<Value>(resolve => (answer = resolve)));
  const call = backend.act('slow:action', {});
  vi.advanceTimersByTime(60_000);
  expect(made[0]!.closed).toBe(false);
  answer(1);
  await call;
  vi.advanceTimersByTime(31_000);
  expect(made[0]!.closed).toBe(true);
  backend.follow('q', {}, hearing());
  expect(made.length).toBe(2);
});

test('a lost connection is told, and why, where waiting will not mend it', async () => {
  const heard = hearing();
  backend.follow('q', {}, heard);
  await turn();
  made[0]!.link(true);
  made[0]!.link(false);
  expect(heard.linked).toHaveBeenLastCalledWith(false, '');
  why = 'signed out';
  made[0]!.link(false, 1);
  await turn();
  expect(heard.linked).toHaveBeenLastCalledWith(false, '');
  made[0]!.link(false, 2);
  await turn();
  expect(heard.linked).toHaveBeenLastCalledWith(false, 'signed out');
  const late = hearing();
  backend.follow('r', {}, late);
  await turn();
  expect(late.linked).toHaveBeenLastCalledWith(false, 'signed out');
  made[0]!.link(true);
  expect(heard.linked).toHaveBeenLastCalledWith(true, '');
});

test('a client that has given up is replaced: what is followed goes on, calls under way fail', async () => {
  const heard = hearing();
  const stop = backend.follow('q', {}, heard);
  const left = backend.follow('left', {}, hearing());
  made[0]!.link(true);
  made[0]!.mutation.mockReturnValueOnce(new Promise(() => undefined));
  const call = backend.mutate('m', {});
  made[0]!.events.died('set back');
  await expect(call).rejects.toThrow('set back');
  expect(heard.linked).toHaveBeenLastCalledWith(false, '');
  left();
  vi.advanceTimersByTime(2_000);
  expect(made.length).toBe(2);
  expect(made[1]!.asked).toEqual([{ name: 'q', args: {} }]);
  made[0]!.put('q', {}, 'of the dead');
  expect(heard.value).not.toHaveBeenCalled();
  made[1]!.link(true);
  made[1]!.put('q', {}, 'of the living');
  expect(heard.value).toHaveBeenCalledWith('of the living');
  stop();
  expect(made[1]!.stopped).toBe(1);
});

test('a page has one connection for each deployment, below its own server only', () => {
  const page = pageOver('http://h/user/al', (address, events) => new FakeClient(address, events) as unknown as Client);
  expect(page.backend('nbreactive/default')).toBe(page.backend('nbreactive/default'));
  expect(page.backend('nbreactive/staging')).not.toBe(page.backend('nbreactive/default'));
  expect(backendOf('nbreactive/default')).toBeNull();
  offer(page);
  expect(backendOf('nbreactive/default')).toBe(page.backend('nbreactive/default'));
  for (const mount of ['', 'other', 'nbreactive/a/b', '//evil', 'nbreactive/..', 'nbreactive/%2e%2E']) {
    expect(backendOf(mount)).toBeNull();
  }
});
