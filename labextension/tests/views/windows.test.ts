import { beforeEach, expect, test } from 'vitest';
import { readFrame, readSource, Windows, type Frame, type Shown, type Source } from '../../src/views/windows';

interface Asked {
  source: Source;
  offset: number;
  heard: { frame: (frame: Frame) => void; failed: (message: string) => void; linked: (open: boolean) => void };
  stopped: boolean;
}

const HASH = '0123456789abcdef0123456789abcdef';
const source = (least: number): Source => ({ path: '_system/sql:live', args: { hash: HASH, params: { least } } });
const frame = (offset: number): Frame => ({ columns: ['n'], types: ['BIGINT'], rows: [[offset]], offset, total: 1000 });

let asked: Asked[];
let shown: Shown | null;
let windows: Windows;

beforeEach(() => {
  asked = [];
  shown = null;
  windows = new Windows(
    (source, offset, _limit, heard) => {
      const one = { source, offset, heard, stopped: false };
      asked.push(one);
      return () => {
        one.stopped = true;
      };
    },
    now => {
      shown = now;
    },
  );
});

test('the last window stays live until the next has come', () => {
  windows.aim(source(1));
  windows.want(0, 300);
  expect(shown!.awaited).toBe(true);
  asked[0]!.heard.frame(frame(0));
  expect(shown).toMatchObject({ frame: { offset: 0 }, awaited: false });
  windows.want(500, 300);
  expect(asked[0]!.stopped).toBe(false);
  asked[0]!.heard.frame(frame(0)); // changes meanwhile
  expect(shown!.frame!.offset).toBe(0);
  asked[1]!.heard.frame(frame(500));
  expect(asked[0]!.stopped).toBe(true);
  expect(shown).toMatchObject({ frame: { offset: 500 }, awaited: false });
});

test('while one is awaited only the newest wish counts', () => {
  windows.aim(source(1));
  windows.want(0, 300);
  windows.want(100, 300);
  windows.want(200, 300);
  windows.want(900, 300);
  expect(asked.length).toBe(1);
  asked[0]!.heard.frame(frame(0));
  expect(asked.map(one => one.offset)).toEqual([0, 900]);
});

test('other parameters: the rows before stay, awaited, and answers to the old ones are not heard', () => {
  windows.aim(source(1));
  windows.want(0, 300);
  windows.aim(source(2));
  expect(asked[0]!.stopped).toBe(true);
  asked[0]!.heard.frame(frame(7));
  expect(shown!.frame).toBeNull();
  asked[1]!.heard.frame(frame(0));
  windows.aim(source(3));
  windows.aim(source(3));
  expect(asked.length).toBe(3);
  expect(shown).toMatchObject({ frame: { offset: 0 }, awaited: true });
  asked[2]!.heard.frame(frame(0));
  expect(asked[1]!.stopped).toBe(true);
  windows.aim(null);
  expect(asked[2]!.stopped).toBe(true);
  expect(shown!.frame).toBeNull();
});

test('a failure is told, and the rows stay', () => {
  windows.aim(source(1));
  windows.want(0, 300);
  asked[0]!.heard.frame(frame(0));
  asked[0]!.heard.failed('no');
  expect(shown).toMatchObject({ message: 'no', frame: { offset: 0 } });
  asked[0]!.heard.linked(false);
  expect(shown!.open).toBe(false);
  windows.close();
  expect(asked[0]!.stopped).toBe(true);
});

test('only the hash of a statement is taken from what anybody may have written', () => {
  expect(readSource('_system/sql:live', { hash: HASH, params: { a: 1 }, sql: 'SELECT' })).toEqual({
    path: '_system/sql:live',
    args: { hash: HASH, params: { a: 1 } },
  });
  expect(readSource('_system/sql:live', { hash: 'SELECT 1' })).toBeNull();
  expect(readSource('chat:delete_all', { hash: HASH })).toBeNull();
  expect(readFrame({ columns: [{ name: 'a', type: 'X' }, 5], rows: [[1], 7], total: -3 })).toEqual({
    columns: ['a'],
    types: ['X'],
    rows: [[1]],
    offset: 0,
    total: 2,
  });
  expect(readFrame({ columns: 'a' })).toBeNull();
});
