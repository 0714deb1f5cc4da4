/** A table that somebody works with: sorted, filtered, laid out, selected, edited. */
import { beforeEach, describe, expect, test, vi } from 'vitest';
import { EMPTY, LiveTable, type Hooks } from '../../../src/views/table';
import type { Options } from '../../../src/views/table/state';

const COLUMNS = ['_id', 'name', 'n'];
const KINDS = ['id', 'text', 'integer'];
const ANY: Options['edit'] = { name: { kind: 'text', nullable: false, options: [] }, n: { kind: 'integer', nullable: true, options: [] } };
let table: LiveTable;
let rows: unknown[][];
let options: Options;

function open(hooks: Partial<Hooks> = {}, more: Partial<Options> = {}): void {
  options = { ...EMPTY.options, ...more };
  table = new LiveTable(document, hooks);
  document.body.replaceChildren(table.node);
  rows = [['a', 'pear', 3], ['b', 'plum', 1], ['c', 'fig', 2]];
  show();
}

const show = () => table.update({ ...EMPTY, status: 'live', options, table: { columns: COLUMNS, kinds: KINDS, rows, total: rows.length } });
const grid = () => table.node.querySelector<HTMLElement>('[role=grid]')!;
const head = (name: string) =>
  [...table.node.querySelectorAll<HTMLElement>('.nbr-column')].find(cell => cell.querySelector('.nbr-name')!.textContent === name)!;
const line = (at: number) => table.node.querySelectorAll<HTMLElement>('.nbr-grid-layer [role=row]')[at]!;
const names = () => [...table.node.querySelectorAll('.nbr-grid-layer [role=row]')].map(row => row.textContent);
const key = (name: string, more: KeyboardEventInit = {}) =>
  grid().dispatchEvent(new KeyboardEvent('keydown', { key: name, cancelable: true, ...more }));
const active = () => table.node.querySelector(`#${grid().getAttribute('aria-activedescendant')}`)!;
const numberOf = (cell: Element) => Number(cell.parentElement!.getAttribute('aria-rowindex')) - 2;
const press = (node: Element, more: MouseEventInit = {}) =>
  node.dispatchEvent(new MouseEvent('mousedown', { bubbles: true, button: 0, ...more }));

beforeEach(() => open());

describe('columns', () => {
  test('a header sorts, and a new row comes where it belongs', () => {
    head('n').click();
    expect(names()).toEqual(['bplum1', 'cfig2', 'apear3']);
    expect(head('n').getAttribute('aria-sort')).toBe('ascending');
    rows = [...rows, ['d', 'kiwi', 0]];
    show();
    expect(names()[0]).toBe('dkiwi0');
    head('n').click();
    expect(names()[0]).toBe('apear3');
    head('n').click();
    expect([names()[0], head('n').getAttribute('aria-sort')]).toEqual(['apear3', 'none']);
  });

  test('by the keyboard: sorted, moved, hidden, and shown again', () => {
    key('Home', { ctrlKey: true });
    key('ArrowUp');
    expect(active().textContent).toBe(head('_id').textContent);
    key('ArrowRight');
    key('Enter');
    expect(head('name').getAttribute('aria-sort')).toBe('ascending');
    key('ArrowRight', { ctrlKey: true });
    expect([...table.node.querySelectorAll('.nbr-name')].map(name => name.textContent)).toEqual(['_id', 'n', 'name']);
    expect(active().textContent).toBe(head('name').textContent);
    key('ArrowDown', { altKey: true });
    const menu = table.node.querySelector<HTMLElement>('[role=dialog]')!;
    expect(menu.getAttribute('aria-label')).toBe('Column name');
    [...menu.querySelectorAll('button')].find(button => button.textContent === 'Hide')!.click();
    expect([...table.node.querySelectorAll('.nbr-name')].map(name => name.textContent)).toEqual(['_id', 'n']);
    table.node.querySelector<HTMLElement>('.nbr-chooser')!.click();
    const checks = [...table.node.querySelectorAll<HTMLInputElement>('[role=dialog] input')];
    expect(checks.map(check => check.checked)).toEqual([true, true, false]);
    checks[2]!.click();
    expect(head('name')).toBeTruthy();
  });
});

test('the filter shows rows with a text, and says how many', async () => {
  const search = table.node.querySelector<HTMLInputElement>('.nbr-search')!;
  search.value = 'p';
  search.dispatchEvent(new KeyboardEvent('keydown', { key: 'Enter' }));
  expect(names()).toEqual(['apear3', 'bplum1']);
  expect(table.node.querySelector('.nbr-count')!.textContent).toBe('2 of 3 rows');
  rows = [...rows, ['d', 'papaya', 4], ['e', 'kiwi', 5]];
  show();
  expect(names()).toEqual(['apear3', 'bplum1', 'dpapaya4']);
  expect(document.activeElement === grid()).toBe(true);
});

describe('selection', () => {
  test('by mouse and keyboard, kept by id', () => {
    const heard: unknown[] = [];
    open({ selected: keys => heard.push(keys) }, { selection: 'many' });
    press(line(0).children[1]!);
    press(line(2).children[1]!, { ctrlKey: true });
    expect(heard).toEqual([['a'], ['a', 'c']]);
    rows = [['z', 'new', 9], ...rows];
    show();
    expect(line(1).getAttribute('aria-selected')).toBe('true');
    expect(numberOf(active())).toBe(3); // the cell of c
    key(' ');
    expect(heard.at(-1)).toEqual(['a']);
    key('a', { ctrlKey: true });
    expect(heard.at(-1)).toEqual(['z', 'a', 'b', 'c']);
    expect(grid().getAttribute('aria-multiselectable')).toBe('true');
  });

  test('one at a time, or none', () => {
    const heard: unknown[] = [];
    open({ selected: keys => heard.push(keys) }, { selection: 'one' });
    press(line(0).children[1]!);
    press(line(1).children[1]!, { ctrlKey: true });
    expect(heard).toEqual([['a'], ['b']]);
    open({ selected: keys => heard.push(keys) });
    press(line(0).children[1]!);
    expect(heard.length).toBe(2);
  });
});

test('copying gives the range of cells', () => {
  press(line(0).children[1]!);
  press(line(1).children[2]!, { shiftKey: true });
  expect(table.node.querySelectorAll('.nbr-range').length).toBe(4);
  const copied: Record<string, string> = {};
  const event = new Event('copy', { bubbles: true, cancelable: true });
  Object.assign(event, { clipboardData: { setData: (type: string, text: string) => (copied[type] = text) } });
  grid().dispatchEvent(event);
  expect(copied['text/plain']).toBe('pear\t3\nplum\t1');
});

describe('editing', () => {
  const input = () => table.node.querySelector<HTMLInputElement>('.nbr-editor input')!;
  const type = (text: string, done = 'Enter') => {
    input().value = text;
    input().dispatchEvent(new KeyboardEvent('keydown', { key: done, bubbles: true }));
  };

  test('is shown at once, and rolled back with why it was refused', async () => {
    const asked: unknown[] = [];
    open({ edit: (...what) => (asked.push(what), Promise.reject(new Error('too many pears'))) }, { edit: ANY });
    press(line(0).children[2]!);
    key('Enter');
    expect(input().value).toBe('3');
    type('many');
    expect(input().value).toBe('many');
    expect(input().getAttribute('aria-invalid')).toBe('true');
    type('30');
    expect(asked).toEqual([['a', 'n', 30]]);
    expect([line(0).children[2]!.textContent, line(0).children[2]!.className]).toEqual(['30', 'nbr-number nbr-pending']);
    expect(numberOf(active())).toBe(1); // Enter goes on below
    const bubble = table.node.querySelector<HTMLElement>('.nbr-bubble')!;
    await vi.waitFor(() => expect(bubble.textContent).toBe('too many pears'));
    expect([line(0).children[2]!.textContent, line(0).children[2]!.classList.contains('nbr-refused')]).toEqual(['3', true]);
    key('ArrowUp');
    key('F2');
    expect(input().value).toBe('30'); // what was typed is not lost
    type('', 'Escape');
    expect([line(0).children[2]!.className, bubble.hidden]).toEqual(['nbr-number nbr-active', true]);
  });

  test('goes on with what is typed, follows its row, and leaves what is not to be edited alone', async () => {
    const edit = vi.fn(() => Promise.resolve(null));
    open({ edit }, { edit: ANY });
    press(line(1).children[1]!);
    key('q');
    expect(input().value).toBe('q');
    rows = [['z', 'new', 9], ...rows];
    show();
    type('quince', 'Tab');
    expect(edit).toHaveBeenCalledWith('b', 'name', 'quince');
    expect(line(2).children[1]!.textContent).toBe('quince');
    rows = rows.map(row => (row[0] === 'b' ? ['b', 'quince', 1] : row));
    await Promise.resolve();
    show();
    await vi.waitFor(() => expect(line(2).children[1]!.className).not.toContain('nbr-pending'));
    press(line(0).children[0]!);
    key('Enter');
    key('x');
    expect(input() === null).toBe(true); // _id
    expect(grid().getAttribute('aria-readonly')).toBe('false');
  });
});
