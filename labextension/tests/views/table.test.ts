import { visible } from '../../src/views/sql_values';
import { describe, expect, test, vi } from 'vitest';
import { cellText, describeCount, describeStatus, EMPTY, LiveTable, type LiveState } from '../../src/views/table';

function paint(state: Partial<LiveState>): LiveTable {
  const table = new LiveTable(document);
  table.update({ ...EMPTY, status: 'live', ...state });
  return table;
}

const rowsOf = (table: LiveTable) => [...table.node.querySelectorAll<HTMLElement>('.nbr-grid-layer [role=row]')];
const cells = (table: LiveTable) => rowsOf(table).map(row => [...row.children].map(cell => cell.textContent));
const names = (table: LiveTable) => [...table.node.querySelectorAll('.nbr-name')].map(name => name.textContent);

describe('the live table', () => {
  test('paints columns and rows', () => {
    const table = paint({ table: { columns: ['author', 'likes'], rows: [['Ada', 3], ['Bob', null]], total: 2 } });
    expect(names(table)).toEqual(['author', 'likes']);
    expect(cells(table)).toEqual([['Ada', '3'], ['Bob', 'null']]);
    expect([...table.node.querySelectorAll('[role=gridcell].nbr-number')].map(cell => cell.textContent)).toEqual(['3', 'null']);
    expect(table.node.querySelector('.nbr-null')?.textContent).toBe('null');
  });

  test.each(['<img src=x onerror=alert(1)>', '<script>alert(1)</script>', '</td><td>', '&lt;b&gt;', '\u202eabc'])(
    'shows %s as the text that it is, everywhere (case 31)',
    hostile => {
      const table = paint({
        table: { columns: [hostile], rows: [[hostile], [{ [hostile]: hostile }]], total: 2 },
        title: hostile,
        badge: hostile,
        message: hostile,
      });
      expect(table.node.querySelectorAll('img, script, b, a').length).toBe(0);
      expect(cells(table)[0]).toEqual([visible(hostile)]);
      for (const part of ['.nbr-title', '.nbr-badge', '.nbr-message']) {
        expect(table.node.querySelector(part)?.textContent).toBe(hostile);
      }
      expect(names(table)).toEqual([visible(hostile)]);
    },
  );

  test('keeps the cells that did not change, and forgets the rest', () => {
    const table = paint({ table: { columns: ['a', 'b'], rows: [['1', 'x'], ['2', 'y'], ['3', 'z']], total: 3 } });
    const first = rowsOf(table)[0]!.firstElementChild!.firstChild;
    table.update({ ...EMPTY, status: 'live', table: { columns: ['a', 'b'], rows: [['1', 'new']], total: 1 } });
    expect(rowsOf(table)[0]!.firstElementChild!.firstChild).toBe(first);
    expect(cells(table)).toEqual([['1', 'new']]);
  });

  test('says its state in words, and to a screen reader', () => {
    const table = paint({ status: 'reconnecting' });
    expect(table.node.dataset.status).toBe('reconnecting');
    expect(table.node.querySelector('[role=status]')?.textContent).toBe('reconnecting');
    const grid = table.node.querySelector('[role=grid]')!;
    expect(grid.getAttribute('aria-label')).toBe('live query');
    expect(grid.getAttribute('tabindex')).toBe('0');
  });

  test('keeps the old rows under the message of an error', () => {
    const table = paint({
      status: 'error',
      message: 'Division by zero\nchat.py, line 3',
      table: { columns: ['a'], rows: [['kept']], total: 1 },
    });
    const message = table.node.querySelector<HTMLElement>('[role=alert]')!;
    expect(message.hidden).toBe(false);
    expect(message.textContent).toContain('line 3');
    expect(cells(table)).toEqual([['kept']]);
  });

  test('what the system adds is quiet, and whole on hovering', () => {
    const id = 'j57038g2g383j0016jzwtdrh46k3y8qc';
    const table = paint({ table: { columns: ['sum', '_id'], rows: [[0.1 + 0.2, id]], total: 1 } });
    const [sum, cell] = [...rowsOf(table)[0]!.children] as HTMLElement[];
    sum!.dispatchEvent(new MouseEvent('mouseover', { bubbles: true }));
    cell!.dispatchEvent(new MouseEvent('mouseover', { bubbles: true }));
    expect([sum!.textContent, sum!.title]).toEqual(['0.3', '0.30000000000000004']);
    expect([cell!.textContent, cell!.title, cell!.className]).toEqual([id, id, 'nbr-system']);
  });

  test('new rows that come in a blink do not make the words flicker', () => {
    vi.useFakeTimers();
    const table = paint({ updated: 1 });
    const state = table.node.querySelector('.nbr-state')!;
    table.update({ ...EMPTY, status: 'loading', dimmed: true, updated: 1 });
    expect([state.textContent, table.node.classList.contains('nbr-dimmed')]).toEqual(['live', false]);
    vi.advanceTimersByTime(500);
    expect([state.textContent, table.node.classList.contains('nbr-dimmed')]).toEqual(['updating', true]);
    table.update({ ...EMPTY, status: 'live', updated: 2 });
    expect([state.textContent, table.node.classList.contains('nbr-dimmed')]).toEqual(['live', false]);
    vi.useRealTimers();
  });

  test('dims while new arguments are on their way', () => {
    expect(paint({ dimmed: true }).node.classList.contains('nbr-dimmed')).toBe(true);
  });

  test('an empty result still has its columns', () => {
    const table = paint({ table: { columns: ['a', 'b'], rows: [], total: 0 } });
    expect(names(table)).toEqual(['a', 'b']);
    expect(table.node.querySelector<HTMLElement>('.nbr-empty')!.textContent).toBe('no rows');
  });

  test('rows shorter than the columns leave empty cells', () => {
    expect(cells(paint({ table: { columns: ['a', 'b'], rows: [['x']], total: 1 } }))).toEqual([['x', '']]);
  });
});

describe('words', () => {
  test('count of rows, and the notice of a cap', () => {
    expect(describeCount({ columns: [], rows: [[1]], total: 1 })).toBe('1 row');
    expect(describeCount({ columns: [], rows: [], total: 0 })).toBe('0 rows');
    expect(describeCount({ columns: [], rows: [[1], [2]], total: 2, document: true })).toBe('1 document');
    expect(describeCount({ columns: [], rows: [[1], [2]], total: 12345 })).toBe('first 2 of 12,345 rows');
  });

  test('a snapshot says of when it is', () => {
    const at = new Date(2026, 10, 22, 12, 3).getTime();
    expect(describeStatus('snapshot', at, at + 1000)).toBe('snapshot of 12:03');
    expect(describeStatus('snapshot', at, at + 86_400_000)).toBe('snapshot of 2026-11-22 12:03');
    expect(describeStatus('reconnecting', at, at)).toBe('reconnecting, rows of 12:03');
    expect(describeStatus('live', at, at)).toBe('live');
  });

  test('values that are not text', () => {
    expect(cellText({ a: [1, null] })).toBe('{"a":[1,null]}');
    expect(cellText(true)).toBe('true');
    expect(cellText(undefined)).toBe('');
    expect(cellText('x'.repeat(5000)).length).toBe(2001);
  });
});
