import { beforeEach, expect, test } from 'vitest';
import { LIMIT, ROW } from '../../src/views/grid';
import { EMPTY, LiveTable } from '../../src/views/table';
import type { Frame } from '../../src/views/windows';

const MILLION = 1_000_000;
let wishes: [number, number][];
let table: LiveTable;
let grid: { node: HTMLElement; update: (title: string, frame: Frame, window: Frame | null) => void };

/** Rows `from` to `from + count` of a table of `total`. */
function frame(from: number, count: number, total: number): Frame {
  const rows = Array.from({ length: Math.min(count, total - from) }, (_, i) => [from + i, `row ${from + i}`]);
  return { columns: ['n', 'text'], types: ['BIGINT', 'VARCHAR'], rows, offset: from, total };
}

const rows = () => [...grid.node.querySelectorAll<HTMLElement>('[role=rowgroup] [role=row]')].slice(1);
const texts = () => rows().map(row => row.children[1]!.textContent);
const scroll = (to: number) => {
  grid.node.scrollTop = to;
  grid.node.dispatchEvent(new Event('scroll'));
};
const press = (key: string, ctrlKey = false) => {
  const event = new KeyboardEvent('keydown', { key, ctrlKey, cancelable: true });
  grid.node.dispatchEvent(event);
  return event.defaultPrevented;
};
const active = () => grid.node.querySelector(`#${grid.node.getAttribute('aria-activedescendant')}`);

beforeEach(() => {
  wishes = [];
  table = new LiveTable(document, { want: (offset, limit) => wishes.push([offset, limit]) });
  grid = {
    node: table.node.querySelector<HTMLElement>('[role=grid]')!,
    update: (title, frame, window) => table.update({ ...EMPTY, status: 'live', title, frame, window }),
  };
  document.body.replaceChildren(table.node);
});

test('a small result is all there, and nothing is asked for', () => {
  grid.update('t', frame(0, 5, 5), null);
  expect(texts()).toEqual(['row 0', 'row 1', 'row 2', 'row 3', 'row 4']);
  expect(wishes).toEqual([]);
  expect(grid.node.getAttribute('aria-rowcount')).toBe('6');
  expect(grid.node.getAttribute('aria-label')).toBe('t');
  const header = grid.node.querySelectorAll('[role=columnheader]');
  expect([...header].map(cell => cell.querySelector('.nbr-name')!.textContent)).toEqual(['n', 'text']);
  expect([...header].map(cell => cell.querySelector('.nbr-type')!.textContent)).toEqual(['BIGINT', 'VARCHAR']);
  expect(header[0]!.classList.contains('nbr-number')).toBe(true);
  expect(rows()[0]!.children[0]!.className).toBe('nbr-number');
});

test('of a million rows those in sight are in the page, and a window is asked for', () => {
  grid.update('t', frame(0, 200, MILLION), null);
  expect(rows().length).toBeLessThan(40);
  expect(wishes).toEqual([[0, LIMIT]]);
  grid.update('t', frame(0, 200, MILLION), frame(0, LIMIT, MILLION));
  expect(wishes.length).toBe(1);
  scroll(30 * ROW); // is there, with a margin
  expect(wishes.length).toBe(1);
  scroll(MILLION); // some rows beyond
  const [offset, limit] = wishes.at(-1)!;
  const at = Number(rows()[10]!.getAttribute('aria-rowindex')) - 2;
  expect(offset).toBeLessThan(at);
  expect(offset + limit).toBeGreaterThan(at + 30);
});

test('rows that are to come show what stood there, dimmed, under their own number', () => {
  grid.update('t', frame(0, 200, MILLION), frame(0, LIMIT, MILLION));
  scroll(4_000_000);
  expect(rows().every(row => row.classList.contains('nbr-awaited'))).toBe(true);
  expect(grid.node.getAttribute('aria-busy')).toBe('true');
  expect(texts()[3]).toMatch(/^row \d+$/);
  const [offset] = wishes.at(-1)!;
  expect(offset).toBeGreaterThan(490_000);
  grid.update('t', frame(0, 200, MILLION), frame(offset, LIMIT, MILLION));
  expect(rows().some(row => row.classList.contains('nbr-awaited'))).toBe(false);
  expect(grid.node.getAttribute('aria-busy')).toBe('false');
  const at = Number(rows()[3]!.getAttribute('aria-rowindex')) - 2;
  expect(texts()[3]).toBe(`row ${at}`);
});

test('keys go through the cells, to the last of a million rows', () => {
  grid.update('t', frame(0, 200, MILLION), frame(0, LIMIT, MILLION));
  expect(press('ArrowDown')).toBe(true);
  expect(active()?.textContent).toBe('0');
  press('ArrowDown');
  press('ArrowRight');
  expect(active()?.textContent).toBe('row 1');
  press('PageDown');
  expect(Number(active()?.parentElement?.getAttribute('aria-rowindex'))).toBeGreaterThan(10);
  press('End', true);
  expect(active()?.parentElement?.getAttribute('aria-rowindex')).toBe(String(MILLION + 1));
  const [offset, limit] = wishes.at(-1)!;
  expect(offset + limit).toBeGreaterThanOrEqual(MILLION);
  press('ArrowUp');
  expect(active()?.parentElement?.getAttribute('aria-rowindex')).toBe(String(MILLION));
  press('Home', true);
  expect(grid.node.scrollTop).toBe(0);
  expect(active()?.textContent).toBe('0');
  expect(press('a')).toBe(false);
});

test('the wheel moves by rows, however long the table is', () => {
  grid.update('t', frame(0, 200, 50 * MILLION), frame(0, LIMIT, 50 * MILLION));
  const event = new WheelEvent('wheel', { deltaY: 4 * ROW, cancelable: true });
  grid.node.dispatchEvent(event);
  grid.node.dispatchEvent(new WheelEvent('wheel', { deltaY: 4 * ROW, cancelable: true }));
  const first = rows()[0]!;
  expect(Number(first.getAttribute('aria-rowindex')) - 2).toBe(0); // 8 rows down, 8 rows beside
  expect(grid.node.querySelector<HTMLElement>('.nbr-grid-layer')!.style.transform).toContain('-');
});

test('values are painted as text', () => {
  const text = '<img src=x onerror=alert(1)>';
  grid.update('t', { columns: [text], types: ['VARCHAR'], rows: [[text]], offset: 0, total: 1 }, null);
  expect(grid.node.querySelector('img')).toBeNull();
  expect(rows()[0]!.textContent).toBe(text);
});

test('an update touches only the cells that changed, and null is no text', () => {
  grid.update('t', frame(0, 3, 3), null);
  const kept = rows()[0]!.children[1]!.firstChild;
  const next = frame(0, 3, 3);
  grid.update('t', { ...next, rows: [[0, 'row 0'], [1, 'changed'], [2, null]] }, null);
  expect(rows()[0]!.children[1]!.firstChild).toBe(kept);
  expect(texts()).toEqual(['row 0', 'changed', 'null']);
  expect(rows()[2]!.children[1]!.className).toBe('nbr-null');
});

test('a result with other columns, or fewer rows, takes the place of the one before', () => {
  grid.update('t', frame(0, 200, MILLION), frame(0, LIMIT, MILLION));
  scroll(1_000_000);
  grid.update('t', { columns: ['only'], types: ['VARCHAR'], rows: [['x']], offset: 0, total: 1 }, null);
  expect(grid.node.getAttribute('aria-colcount')).toBe('1');
  expect(rows().map(row => row.textContent)).toEqual(['x']);
  grid.update('t', { columns: ['only'], types: ['VARCHAR'], rows: [], offset: 0, total: 0 }, null);
  expect(rows()).toEqual([]);
});
