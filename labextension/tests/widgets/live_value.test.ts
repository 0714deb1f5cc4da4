import { expect, test } from 'vitest';
import { sparkline } from '../../src/views/metric';
import widget, { readMetric } from '../../src/widgets/live_value';
import { FakeModel } from '../fakes';

const STATE = {
  label: 'Orders',
  text: '1,204',
  series: [1, 3, 2],
  change: '+12 (+1.0%)',
  direction: 'up',
  since: 'in 1 min',
  good: 'up',
  status: 'live',
  message: '',
};

test('a number, how it has changed, and whether that is good', () => {
  const model = new FakeModel({ state: STATE });
  const stop = new AbortController();
  const el = document.createElement('div');
  widget().render({ model, el, signal: stop.signal } as never);
  const card = el.querySelector<HTMLElement>('.nbr-metric')!;
  expect(card.getAttribute('aria-label')).toBe('Orders');
  expect(card.querySelector('.nbr-metric-value')!.textContent).toBe('1,204');
  const change = card.querySelector<HTMLElement>('.nbr-metric-change')!;
  expect(change.textContent).toBe('▲up+12 (+1.0%) in 1 min');
  expect(change.dataset.news).toBe('good');
  expect(card.querySelector('polyline')!.getAttribute('points')!.split(' ')).toHaveLength(3);
  model.set({ state: { ...STATE, direction: 'down', status: 'error', message: 'KeyError: x' } });
  expect(change.dataset.news).toBe('bad');
  expect(card.querySelector('.nbr-metric-note')!.textContent).toBe('KeyError: x');
  model.set({ state: { label: 'x', text: 'up', status: 'reconnecting' } });
  expect(change.hidden).toBe(true);
  expect(card.querySelector('.nbr-metric-note')!.textContent).toBe('reconnecting');
  stop.abort();
  expect(el.children).toHaveLength(0);
  expect(model.sent).toEqual([{ type: 'views', count: 1 }, { type: 'views', count: 0 }]);
});

test('a line of equal values lies in the middle, and what is no number is none', () => {
  expect(sparkline([5, 5])).toEqual([[0, 16], [120, 16]]);
  expect(sparkline([0, 10])).toEqual([[0, 32], [120, 0]]);
  expect(sparkline([])).toEqual([]);
  expect(readMetric({ series: [1, 'x', null, Infinity, 2], direction: 'sideways', label: 7 })).toMatchObject({
    series: [1, 2],
    direction: '',
    label: '',
  });
});
