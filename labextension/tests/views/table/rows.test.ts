import { describe, expect, test } from 'vitest';
import { columnsOf, type Cells } from '../../../src/views/table/columns';
import { Rows } from '../../../src/views/table/rows';

const columns = columnsOf(['_id', 'n', 'name'], ['id', 'number', 'text'], []);

function rowsOf(rows: readonly Cells[]): Rows {
  const made = new Rows();
  made.setLocal(columns, rows);
  return made;
}

const ids = (rows: Rows) => Array.from({ length: rows.count }, (_, at) => rows.keyOf(at));

describe('sorting', () => {
  const unsorted: Cells[] = [['a', 3, 'pear'], ['b', null, 'Plum'], ['c', 1, null], ['d', 3, 'apple']];

  test('is stable, and what is missing comes last either way', () => {
    const rows = rowsOf(unsorted);
    rows.sort = { column: 'n', descending: false };
    rows.arrange();
    expect(ids(rows)).toEqual(['c', 'a', 'd', 'b']);
    rows.sort = { column: 'n', descending: true };
    rows.arrange();
    expect(ids(rows)).toEqual(['a', 'd', 'c', 'b']);
    rows.sort = { column: 'name', descending: false };
    rows.arrange();
    expect(ids(rows)).toEqual(['d', 'a', 'b', 'c']);
    rows.sort = null;
    rows.arrange();
    expect(ids(rows)).toEqual(['a', 'b', 'c', 'd']);
  });

  test('a change sorts what is new only, and is the same as sorting all', () => {
    let seed = 1;
    const random = () => (seed = (seed * 48_271) % 2_147_483_647) / 2_147_483_647;
    let all: Cells[] = Array.from({ length: 500 }, (_, i) => [`id${i}`, Math.floor(random() * 50), `name ${i}`]);
    const rows = rowsOf(all);
    rows.sort = { column: 'n', descending: true };
    rows.search = 'name 1';
    rows.arrange();
    for (let round = 0; round < 90; round++) {
      const next = [...all];
      const at = Math.floor(random() * next.length);
      if (round % 3 === 0) {
        next.splice(at, 1);
      } else if (round % 3 === 1) {
        next.splice(at, 0, [`new${round}`, Math.floor(random() * 50), `name 1${round}`]);
      } else {
        next[at] = [next[at]![0], Math.floor(random() * 50), 'name 1'];
      }
      all = next;
      rows.setLocal(columns, all);
      const again = rowsOf(all);
      again.sort = rows.sort;
      again.search = rows.search;
      again.arrange();
      expect(ids(rows)).toEqual(ids(again));
    }
  });
});

describe('filters', () => {
  const rows = rowsOf([['a', 3, 'pear tree'], ['b', null, ''], ['c', 12, 'PEAR'], ['d', 7, 'plum']]);
  const shown = (search: string, conditions: Record<string, string> = {}) => {
    rows.search = search;
    rows.conditions.clear();
    Object.entries(conditions).forEach(([name, text]) => rows.conditions.set(name, text));
    rows.arrange();
    return ids(rows);
  };

  test.each([
    ['pear', {}, ['a', 'c']],
    ['Pear t', {}, ['a']],
    ['d', {}, ['d']],
    ['12', {}, ['c']],
    ['', { n: '> 3' }, ['c', 'd']],
    ['', { n: '3..7' }, ['a', 'd']],
    ['', { n: '= 12' }, ['c']],
    ['', { n: 'empty' }, ['b']],
    ['', { name: '!empty' }, ['a', 'c', 'd']],
    ['', { name: '!= plum', n: '>= 3' }, ['a', 'c']],
    ['pear', { n: '< 5' }, ['a']],
    ['nothing', {}, []],
    [' ', {}, ['a', 'b', 'c', 'd']],
  ])('%s and %o', (search, conditions, expected) => {
    expect(shown(search, conditions as Record<string, string>)).toEqual(expected);
  });
});

test('a row is found by its id wherever it has gone, and of rows without one by its place', () => {
  const rows = rowsOf([['a', 1, ''], ['b', 2, '']]);
  expect(rows.find('b', 0)).toBe(1);
  expect(rows.find('x')).toBe(-1);
  const plain = new Rows();
  plain.setLocal(columnsOf(['n'], undefined, [[5], [6]]), [[5], [6]]);
  expect([plain.keyOf(1), plain.find(1)]).toEqual([1, 1]);
});
