import { expect, test } from 'vitest';
import { Dom } from '../../src/panel/dom';
import { Rows } from '../../src/panel/rows';

interface Row {
  readonly id: string;
  readonly n: number;
}

function made(chosen?: (keys: ReadonlySet<string>) => void) {
  return new Rows<Row>(new Dom(document), {
    label: 'things',
    empty: 'none',
    key: ({ id }) => id,
    columns: [{ name: 'n', label: 'N', text: ({ n }) => String(n) }],
    ...(chosen ? { chosen } : {}),
  });
}

const shown = (rows: Rows<Row>) => [...rows.node.querySelectorAll('tbody tr')];

test('rows keep their elements in whatever order they come', () => {
  const rows = made();
  rows.update([{ id: 'a', n: 1 }, { id: 'b', n: 2 }, { id: 'c', n: 3 }]);
  const [a, b, c] = shown(rows);
  rows.update([{ id: 'c', n: 3 }, { id: 'new', n: 9 }, { id: 'a', n: 5 }]);
  const [first, second, third] = shown(rows);
  expect([first, third]).toEqual([c, a]);
  expect(second!.textContent).toBe('9');
  expect(a!.textContent).toBe('5');
  expect(b!.isConnected).toBe(false);
});

test('what is chosen and goes is chosen no longer', () => {
  let keys: string[] = [];
  const rows = made(chosen => (keys = [...chosen]));
  rows.update([{ id: 'a', n: 1 }, { id: 'b', n: 2 }]);
  const all = rows.node.querySelector<HTMLInputElement>('thead input')!;
  all.checked = true;
  all.dispatchEvent(new Event('change'));
  expect(keys).toEqual(['a', 'b']);
  rows.update([{ id: 'b', n: 2 }]);
  expect(keys).toEqual(['b']);
});
