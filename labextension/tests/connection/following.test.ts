import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { Follower } from '../../src/connection/following';
import { FakeSocket } from '../fakes';

const hearing = () => ({ value: vi.fn(), failed: vi.fn(), linked: vi.fn() });
let follower: Follower;

beforeEach(() => {
  vi.useFakeTimers();
  FakeSocket.made = [];
  follower = new Follower('ws://h/sync', url => new FakeSocket(url) as unknown as WebSocket);
});

afterEach(() => vi.useRealTimers());

test('what is asked in one turn is one change of the set; results reach who asked', async () => {
  const [a, b] = [hearing(), hearing()];
  follower.follow('q', { a: 1 }, a);
  const [socket] = FakeSocket.made;
  socket!.onopen();
  expect(socket!.sent.map(({ type }) => type)).toEqual(['Connect', 'ModifyQuerySet']);
  expect(socket!.sent[1]).toMatchObject({
    baseVersion: 0,
    newVersion: 1,
    modifications: [{ type: 'Add', queryId: 0, udfPath: 'q', args: [{ a: 1 }] }],
  });
  await Promise.resolve();
  const stop = follower.follow('q', { a: 2 }, b);
  follower.follow('q', { a: 3 }, b);
  await Promise.resolve();
  expect(socket!.sent.length).toBe(3);
  expect(socket!.sent[2]).toMatchObject({ baseVersion: 1, newVersion: 2 });
  socket!.answer({ type: 'QueryUpdated', queryId: 0, value: [1] }, { type: 'QueryFailed', queryId: 1, errorMessage: 'no' });
  expect(a.value).toHaveBeenCalledWith([1]);
  expect(b.failed).toHaveBeenCalledWith('no');
  stop();
  await Promise.resolve();
  expect(socket!.sent[3]).toMatchObject({ modifications: [{ type: 'Remove', queryId: 1 }] });
  socket!.answer({ type: 'QueryUpdated', queryId: 1, value: 'late' });
  expect(b.value).not.toHaveBeenCalled();
});

test('a large transition comes in pieces', () => {
  const heard = hearing();
  follower.follow('q', {}, heard);
  const [socket] = FakeSocket.made;
  socket!.onopen();
  const whole = JSON.stringify({ type: 'Transition', modifications: [{ type: 'QueryUpdated', queryId: 0, value: 'x' }] });
  [whole.slice(0, 20), whole.slice(20)].forEach((chunk, partNumber) =>
    socket!.say({ type: 'TransitionChunk', chunk, partNumber, totalParts: 2, transitionId: 't' }),
  );
  expect(heard.value).toHaveBeenCalledWith('x');
});

test('after a broken connection all is asked again', () => {
  const heard = hearing();
  follower.follow('q', {}, heard);
  FakeSocket.made[0]!.onopen();
  FakeSocket.made[0]!.close();
  expect(heard.linked).toHaveBeenLastCalledWith(false);
  vi.advanceTimersByTime(1_000);
  const again = FakeSocket.made[1]!;
  again.onopen();
  expect(heard.linked).toHaveBeenLastCalledWith(true);
  expect(again.sent[1]).toMatchObject({ baseVersion: 0, newVersion: 1, modifications: [{ type: 'Add', queryId: 0 }] });
});

test('the connection ends with the last query, and comes back with the next', async () => {
  const stop = follower.follow('q', {}, hearing());
  FakeSocket.made[0]!.onopen();
  await Promise.resolve();
  stop();
  await Promise.resolve();
  expect(FakeSocket.made[0]!.closed).toBe(true);
  vi.advanceTimersByTime(60_000);
  expect(FakeSocket.made.length).toBe(1);
  follower.follow('q', {}, hearing());
  expect(FakeSocket.made.length).toBe(2);
});

test('what servers put around an error is left out', () => {
  const heard = hearing();
  follower.follow('q', {}, heard);
  FakeSocket.made[0]!.onopen();
  FakeSocket.made[0]!.answer({
    type: 'QueryFailed',
    queryId: 0,
    errorMessage: '[Request ID: a1] Server Error\nUncaught SqlError: no such table',
  });
  expect(heard.failed).toHaveBeenCalledWith('SqlError: no such table');
});
