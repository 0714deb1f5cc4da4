/** `nbreactive.LiveValue` as an anywidget: the kernel's client sets traits, this paints them. */

import type { AnyModel, RenderProps } from '@anywidget/types';
import { isRecord } from '../records';
import { Metric, type MetricState } from '../views/metric';

export interface ValueModel extends Record<string, unknown> {
  state: unknown;
}

const LONGEST = 500;
const MOST = 1_000;

export function readMetric(said: unknown): MetricState {
  const state = isRecord(said) ? said : {};
  const text = (name: string) => (typeof state[name] === 'string' ? (state[name] as string).slice(0, LONGEST) : '');
  const series = Array.isArray(state.series) ? state.series.slice(-MOST) : [];
  return {
    label: text('label'),
    text: text('text'),
    series: series.filter(value => typeof value === 'number' && Number.isFinite(value)),
    change: text('change'),
    direction: one(state.direction, ['up', 'down', 'flat']),
    since: text('since'),
    good: one(state.good, ['up', 'down']),
    status: text('status'),
    message: text('message'),
  };
}

function one<Name extends string>(said: unknown, names: readonly Name[]): Name | '' {
  return names.find(name => name === said) ?? '';
}

export default () => {
  let views = 0;

  function render({ model, el, signal }: RenderProps<ValueModel>): void {
    const view = new Metric(el.ownerDocument);
    const paint = () => view.update(readMetric(model.get('state')));
    paint();
    el.append(view.node);
    model.on('change:state', paint);
    tell(model, ++views);
    signal.addEventListener('abort', () => {
      model.off('change:state', paint);
      view.node.remove();
      tell(model, --views);
    });
  }

  return { render };
};

/** The kernel lets go of a query that nobody looks at. */
function tell(model: AnyModel<ValueModel>, count: number): void {
  model.send({ type: 'views', count });
}
