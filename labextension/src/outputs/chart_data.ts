/**
 * New rows for a chart that is on the page: where nothing but its rows has changed, the chart stays and takes them.
 *
 * Altair names data by a hash of the rows, so charts are compared without those names. The view is that of Jupyter's own
 * renderer of Vega-Lite; where it is not found, or reads a column in a way that is not known here, the chart is drawn anew.
 */

import { isRecord } from '../records';

type Row = Record<string, unknown>;

interface View {
  data(name: string, rows: Row[]): unknown;
  runAsync(): Promise<unknown>;
  toImageURL(type: 'png'): Promise<string>;
}

interface Source {
  readonly name: string;
  readonly parse: Readonly<Record<string, (value: unknown) => unknown>>;
}

const PARSERS: Record<string, (value: unknown) => unknown> = {
  date: value => (typeof value === 'string' ? Date.parse(value) : value),
  number: value => (value === null || value === '' ? null : Number(value)),
  boolean: value => (value === null || value === '' ? null : value === 'false' ? false : Boolean(value)),
  string: value => (value === null || value === '' ? null : String(value)),
};

export class ChartData {
  private constructor(
    private readonly _form: string,
    private readonly _sources: readonly Source[],
    private readonly _view: View,
  ) {}

  /** The data of a chart that a renderer shows; null if they cannot be changed. */
  static of(renderer: unknown, spec: unknown): ChartData | null {
    const result = isRecord(renderer) && isRecord(renderer._result) ? renderer._result : {};
    const { view, vgSpec } = result;
    const read = readSpec(spec);
    if (read === null || !isView(view) || !isRecord(vgSpec) || !Array.isArray(vgSpec.data)) {
      return null;
    }
    const sources = read.names.map(name => sourceOf(vgSpec.data as unknown[], name));
    return sources.includes(null) ? null : new ChartData(read.form, sources as Source[], view);
  }

  /** Show the rows of another chart, if it is this one with other rows. */
  async take(spec: unknown): Promise<boolean> {
    const read = readSpec(spec);
    if (read === null || read.form !== this._form) {
      return false;
    }
    this._sources.forEach(({ name, parse }, at) => {
      const parsers = Object.entries(parse);
      const rows = read.rows[at]!.map(row => {
        const copy = { ...row };
        parsers.forEach(([column, parser]) => (copy[column] = parser(row[column])));
        return copy;
      });
      this._view.data(name, rows);
    });
    await this._view.runAsync();
    return true;
  }

  /** The chart as a picture, for pages that show the saved notebook. */
  async picture(): Promise<string> {
    return (await this._view.toImageURL('png')).split(',')[1] ?? '';
  }
}

/** A chart without its rows, and its rows. */
function readSpec(spec: unknown): { form: string; names: string[]; rows: Row[][] } | null {
  if (!isRecord(spec) || !isRecord(spec.datasets)) {
    return null;
  }
  const { datasets, ...rest } = spec;
  const names = Object.keys(datasets);
  const rows = Object.values(datasets);
  if (names.length === 0 || !rows.every(each => Array.isArray(each) && each.every(isRecord))) {
    return null;
  }
  const form = names.reduce((text, name, at) => text.replaceAll(JSON.stringify(name), `#${at}`), JSON.stringify(rest));
  return { form, names, rows: rows as Row[][] };
}

function sourceOf(data: unknown[], name: string): Source | null {
  const found = data.find(each => isRecord(each) && each.name === name);
  if (!isRecord(found) || !Array.isArray(found.values)) {
    return null;
  }
  const said = isRecord(found.format) && isRecord(found.format.parse) ? found.format.parse : {};
  const parsers = Object.entries(said).map(([column, kind]) => [column, PARSERS[String(kind)]] as const);
  return parsers.every(([, parser]) => parser !== undefined)
    ? { name, parse: Object.fromEntries(parsers) as Source['parse'] }
    : null;
}

function isView(view: unknown): view is View {
  return isRecord(view) && ['data', 'runAsync', 'toImageURL'].every(name => typeof view[name] === 'function');
}
