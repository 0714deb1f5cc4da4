import { expect, test, vi } from 'vitest';
import { ChartData } from '../../src/outputs/chart_data';

const spec = (name: string, rows: object[], mark = 'bar') => ({ mark, data: { name }, datasets: { [name]: rows } });

function renderer(name: string, parse?: object) {
  const view = { data: vi.fn(), runAsync: vi.fn(async () => undefined), toImageURL: vi.fn(async () => 'data:image/png;base64,abc') };
  const data = [{ name, values: [], ...(parse && { format: { type: 'json', parse } }) }, { name: 'data_0', source: name }];
  return { view, renderer: { _result: { view, vgSpec: { data } } } };
}

test('a chart of which only the rows have changed takes them', async () => {
  const { view, renderer: shown } = renderer('data-1', { day: 'date', n: 'number' });
  const chart = ChartData.of(shown, spec('data-1', [{ day: '1970-01-01T00:00:00Z', n: 1 }]))!;
  expect(await chart.take(spec('data-2', [{ day: '1970-01-01T00:00:01Z', n: '2' }]))).toBe(true);
  expect(view.data).toHaveBeenCalledWith('data-1', [{ day: 1000, n: 2 }]);
  expect(view.runAsync).toHaveBeenCalledOnce();
  expect(await chart.picture()).toBe('abc');
});

test('another chart is drawn anew', async () => {
  const { view, renderer: shown } = renderer('data-1');
  const chart = ChartData.of(shown, spec('data-1', []))!;
  expect(await chart.take(spec('data-2', [], 'line'))).toBe(false);
  expect(await chart.take({ mark: 'bar' })).toBe(false);
  expect(view.data).not.toHaveBeenCalled();
});

test('where the view is not known, or a column is read in another way, nothing is changed in place', () => {
  expect(ChartData.of({}, spec('a', []))).toBeNull();
  expect(ChartData.of(renderer('other').renderer, spec('a', []))).toBeNull();
  expect(ChartData.of(renderer('a', { day: "date:'%Y'" }).renderer, spec('a', []))).toBeNull();
  expect(ChartData.of(renderer('a').renderer, { mark: 'bar', data: { url: 'x.csv' } })).toBeNull();
});
