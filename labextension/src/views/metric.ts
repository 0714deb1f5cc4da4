/** A number with its trend: a pure painter. What it is called and how it is written are texts. */

export interface MetricState {
  readonly label: string;
  /** The value as it is written. */
  readonly text: string;
  /** The last values, oldest first. */
  readonly series: readonly number[];
  /** How it differs from before, as it is written; empty: nothing to compare with. */
  readonly change: string;
  readonly direction: 'up' | 'down' | 'flat' | '';
  /** Since when. */
  readonly since: string;
  /** Which direction is good news; empty: neither is. */
  readonly good: 'up' | 'down' | '';
  readonly status: string;
  readonly message: string;
}

const SVG = 'http://www.w3.org/2000/svg';
const WIDTH = 120;
const HEIGHT = 32;
const ARROWS = { up: '▲', down: '▼', flat: '＝', '': '' };
const SAID = { up: 'up', down: 'down', flat: 'unchanged', '': '' };

export class Metric {
  readonly node: HTMLElement;
  private readonly _label: HTMLElement;
  private readonly _value: HTMLElement;
  private readonly _change: HTMLElement;
  private readonly _arrow: HTMLElement;
  private readonly _spoken: HTMLElement;
  private readonly _difference: HTMLElement;
  private readonly _line: SVGPolylineElement;
  private readonly _dot: SVGCircleElement;
  private readonly _chart: SVGSVGElement;
  private readonly _note: HTMLElement;

  constructor(document: Document) {
    const make = (name: string, className: string, parent: Element) => {
      const node = document.createElement(name);
      node.className = className;
      parent.append(node);
      return node;
    };
    this.node = document.createElement('section');
    this.node.className = 'nbr-metric';
    this.node.setAttribute('role', 'group');
    this._label = make('div', 'nbr-metric-label', this.node);
    const row = make('div', 'nbr-metric-row', this.node);
    this._value = make('div', 'nbr-metric-value', row);
    this._chart = document.createElementNS(SVG, 'svg');
    this._chart.setAttribute('viewBox', `-3 -3 ${WIDTH + 6} ${HEIGHT + 6}`);
    this._chart.setAttribute('aria-hidden', 'true'); // what it shows is said by the change
    this._chart.setAttribute('class', 'nbr-sparkline');
    this._line = document.createElementNS(SVG, 'polyline');
    this._dot = document.createElementNS(SVG, 'circle');
    this._dot.setAttribute('r', '2.5');
    this._chart.append(this._line, this._dot);
    row.append(this._chart);
    this._change = make('div', 'nbr-metric-change', this.node);
    this._arrow = make('span', 'nbr-metric-arrow', this._change);
    this._arrow.setAttribute('aria-hidden', 'true');
    this._spoken = make('span', 'nbr-unseen', this._change);
    this._difference = make('span', '', this._change);
    this._note = make('div', 'nbr-metric-note', this.node);
    this._note.setAttribute('role', 'status');
  }

  update(state: MetricState): void {
    const { label, text, direction, good } = state;
    this.node.setAttribute('aria-label', label);
    this.node.dataset.status = state.status;
    setText(this._label, label);
    setText(this._value, text);
    this._value.title = text;
    this._change.hidden = direction === '';
    this._change.dataset.news = good === '' || direction === 'flat' ? '' : direction === good ? 'good' : 'bad';
    setText(this._arrow, ARROWS[direction]);
    setText(this._spoken, SAID[direction]);
    setText(this._difference, [state.change, state.since].filter(part => part !== '').join(' '));
    const points = sparkline(state.series);
    this._chart.toggleAttribute('hidden', points.length < 2);
    this._line.setAttribute('points', points.map(([x, y]) => `${x},${y}`).join(' '));
    const [x, y] = points.at(-1) ?? [0, 0];
    this._dot.setAttribute('cx', String(x));
    this._dot.setAttribute('cy', String(y));
    const note = state.message || (state.status === 'live' ? '' : state.status);
    setText(this._note, note);
    this._note.hidden = note === '';
  }
}

/** Points of a line through all values, as high as it may be; a line in the middle if they are equal. */
export function sparkline(series: readonly number[]): [number, number][] {
  const low = Math.min(...series);
  const span = Math.max(...series) - low;
  const step = WIDTH / Math.max(series.length - 1, 1);
  return series.map((value, at) => [
    Math.round(at * step * 10) / 10,
    Math.round((span === 0 ? HEIGHT / 2 : HEIGHT - ((value - low) / span) * HEIGHT) * 10) / 10,
  ]);
}

function setText(node: HTMLElement, text: string): void {
  if (node.textContent !== text) {
    node.textContent = text;
  }
}
