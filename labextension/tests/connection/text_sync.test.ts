import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { CallError, type Json } from '../../src/connection/page';
import { TextSync, type SyncState } from '../../src/connection/text_sync';

let stored: { text: string; version: number };
let shown: string;
let state: SyncState;
let sync: TextSync;
let saves: { text: string; version: number; end: () => void }[];

/** A server that checks versions; what it stores is told when a test says so. */
function save(text: string, version: number): Promise<Json> {
  return new Promise((resolve, reject) => {
    const end = () => {
      if (version !== stored.version) {
        reject(new CallError('no', { code: 'CONFLICT' }));
      } else {
        stored = { text, version: version + 1 };
        resolve(null);
      }
    };
    saves.push({ text, version, end });
  });
}

const settle = () => vi.advanceTimersByTimeAsync(0);
async function type(text: string): Promise<void> {
  sync.typed(text);
  await vi.advanceTimersByTimeAsync(400);
}

beforeEach(() => {
  vi.useFakeTimers();
  saves = [];
  shown = '';
  stored = { text: 'one two', version: 1 };
  sync = new TextSync({ text: text => (shown = text), state: now => (state = now) }, save);
  sync.stored(stored);
});
afterEach(() => vi.useRealTimers());

test('what is typed is saved when one stops to type, as the successor of what was shown', async () => {
  expect([shown, state.kind]).toEqual(['one two', 'saved']);
  sync.typed('one two t');
  expect(state.kind).toBe('unsaved');
  await vi.advanceTimersByTimeAsync(200);
  await type('one two three');
  expect(saves).toMatchObject([{ text: 'one two three', version: 1 }]);
  expect(state.kind).toBe('saving');
  saves[0]!.end();
  await settle();
  expect(state.kind).toBe('saved');
  sync.stored(stored);
  await type('four');
  expect(saves[1]).toMatchObject({ text: 'four', version: 2 });
});

test('who types without a pause is saved all the same', async () => {
  for (let i = 0; i < 12; i++) {
    sync.typed(`one two ${i}`);
    await vi.advanceTimersByTimeAsync(200);
  }
  expect(saves.length).toBe(1);
});

test('what is typed while a save is under way is saved after it', async () => {
  await type('one two three');
  sync.typed('one two three four');
  saves[0]!.end();
  await settle();
  sync.stored(stored); // what was saved does not come over what was typed since
  expect(sync.text).toBe('one two three four');
  await vi.advanceTimersByTimeAsync(2_000);
  expect(saves[1]).toMatchObject({ text: 'one two three four', version: 2 });
});

test('what another one saves is merged with what is not saved yet', async () => {
  sync.typed('one two mine');
  stored = { text: 'zero one two', version: 2 };
  sync.stored(stored);
  expect(shown).toBe('zero one two mine');
  await vi.advanceTimersByTimeAsync(2_000);
  expect(saves).toMatchObject([{ text: 'zero one two mine', version: 2 }]);
});

test('a save that was too late is put on top of what is stored, whichever is heard of first', async () => {
  await type('one two mine');
  stored = { text: 'zero one two', version: 2 };
  saves[0]!.end();
  await settle();
  sync.stored(stored);
  expect(shown).toBe('zero one two mine');
  expect(saves[1]).toMatchObject({ text: 'zero one two mine', version: 2 });
  stored = { text: 'zero one two!', version: 3 };
  sync.stored(stored);
  saves[1]!.end();
  await settle();
  await settle();
  expect(saves[2]).toMatchObject({ version: 3 });
});

test('of changes to the same words both are shown, until somebody chooses', async () => {
  sync.typed('one mine');
  stored = { text: 'one theirs', version: 2 };
  sync.stored(stored);
  expect(state).toEqual({ kind: 'conflict', theirs: 'one theirs' });
  await type('one mine!');
  expect(saves).toHaveLength(0);
  stored = { text: 'one theirs, too', version: 3 };
  sync.stored(stored);
  expect(state).toEqual({ kind: 'conflict', theirs: 'one theirs, too' });
  sync.resolve(true);
  expect(saves).toMatchObject([{ text: 'one mine!', version: 3 }]);
});

test('taking theirs drops what was typed', async () => {
  sync.typed('one mine');
  sync.stored((stored = { text: 'one theirs', version: 2 }));
  sync.resolve(false);
  expect([shown, sync.text, state.kind]).toEqual(['one theirs', 'one theirs', 'saved']);
  await vi.advanceTimersByTimeAsync(5_000);
  expect(saves).toHaveLength(0);
});

test('while characters are composed the text is left alone', async () => {
  sync.hold(true);
  sync.stored((stored = { text: 'zero one two', version: 2 }));
  expect(shown).toBe('one two');
  sync.typed('one two 안');
  await vi.advanceTimersByTimeAsync(5_000);
  expect(saves).toHaveLength(0);
  sync.hold(false);
  expect(shown).toBe('zero one two 안');
  sync.hold(true);
  sync.typed('nothing two 안');
  sync.stored((stored = { text: 'all two 안', version: 3 }));
  sync.hold(false);
  expect(state.kind).toBe('conflict');
});

test('a save that the function refuses is said, and not tried again by itself', async () => {
  sync = new TextSync({ text: text => (shown = text), state: now => (state = now) }, async () => {
    saves.push({ text: '', version: 0, end: () => undefined });
    throw new CallError('too long');
  });
  sync.stored(stored);
  await type('x');
  expect(state).toEqual({ kind: 'failed', message: 'too long' });
  await vi.advanceTimersByTimeAsync(10_000);
  expect(saves).toHaveLength(1);
  sync.flush();
  await settle();
  expect(saves).toHaveLength(2);
});

test('an older result of the query changes nothing', () => {
  sync.stored({ text: 'older', version: 0 });
  expect(sync.text).toBe('one two');
});
