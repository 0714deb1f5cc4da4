/** Sorting rows by a column: stable, numbers before texts, what is missing last. */

import type { SortKey } from './formats';

export interface Sort {
  readonly column: string;
  readonly descending: boolean;
}

const texts = new Intl.Collator();

/** How two keys stand to each other. */
export function compareKeys(one: SortKey, other: SortKey, descending: boolean): number {
  if (one === null || other === null) {
    return (one === null ? 1 : 0) - (other === null ? 1 : 0);
  }
  let compared: number;
  if (typeof one === 'number') {
    compared = typeof other === 'number' ? one - other : -1;
  } else {
    compared = typeof other === 'number' ? 1 : one === other ? 0 : texts.compare(one, other);
  }
  return descending ? -compared : compared;
}

/** Positions of rows, in the order of their keys; those with equal keys stay as they were. */
export function sorted(positions: readonly number[], key: (at: number) => SortKey, descending: boolean): number[] {
  const keys: SortKey[] = [];
  positions.forEach(at => (keys[at] = key(at)));
  return positions.slice().sort((a, b) => compareKeys(keys[a]!, keys[b]!, descending) || a - b);
}

/** Sorted positions and a few more, which are sorted as well, as one. */
export function merged(
  order: readonly number[],
  added: readonly number[],
  key: (at: number) => SortKey,
  descending: boolean,
): number[] {
  const result: number[] = [];
  let from = 0;
  for (const at of added) {
    const own = key(at);
    let [low, high] = [from, order.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      const other = order[middle]!;
      const before = (compareKeys(key(other), own, descending) || other - at) < 0;
      [low, high] = before ? [middle + 1, high] : [low, middle];
    }
    for (; from < low; from++) {
      result.push(order[from]!);
    }
    result.push(at);
  }
  for (; from < order.length; from++) {
    result.push(order[from]!);
  }
  return result;
}
