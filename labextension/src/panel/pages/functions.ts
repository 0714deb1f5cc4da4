/** Functions with what they take and how they do; one of them is opened to be read and run. */

import { Rows } from '../rows';
import { LivePage, type Surroundings } from '../page';
import { count, duration, number, records, text, type Fields } from '../values';
import { FunctionPage } from './function';

export class FunctionsPage extends LivePage {
  private readonly _rows: Rows<Fields>;
  private readonly _search: HTMLInputElement;
  private readonly _list: HTMLElement;
  private readonly _measured = new Map<string, Fields>();
  private _functions: Fields[] = [];
  private _open: FunctionPage | null = null;

  constructor(around: Surroundings) {
    super(around);
    const { dom, say, roles } = around;
    this._search = dom.input(say('Find functions'), { attrs: { placeholder: say('find') }, on: { input: () => this._paint() } });
    const measured = (fn: Fields) => this._measured.get(text(fn.path)) ?? {};
    this._rows = new Rows<Fields>(dom, {
      label: say('Functions'),
      empty: say('There are no functions: deploy some with %%reactive deploy, or save a file in the functions folder.'),
      key: fn => text(fn.path),
      open: fn => this._show(fn),
      columns: [
        { name: 'path', label: say('Function'), text: fn => text(fn.path), title: fn => text(fn.doc) },
        { name: 'kind', label: say('Kind'), text: fn => kindOf(fn) },
        ...(roles.has('deploy')
          ? [
              { name: 'calls', label: say('Calls'), text: (fn: Fields) => count(measured(fn).calls), number: true },
              { name: 'errors', label: say('Errors'), text: (fn: Fields) => count(measured(fn).errors), number: true },
              { name: 'hits', label: say('Cache hits'), text: (fn: Fields) => count(measured(fn).hits), number: true },
              { name: 'p50', label: 'p50', text: (fn: Fields) => took(measured(fn), 'p50'), number: true },
              { name: 'p99', label: 'p99', text: (fn: Fields) => took(measured(fn), 'p99'), number: true },
            ]
          : []),
      ],
      kind: fn => (number(measured(fn).errors) > 0 ? 'nbr-mod-failed' : ''),
    });
    this._list = dom.make('div', {}, this._search, this._rows.node);
    this.node.append(this._list);
  }

  show(): void {
    this.follow('functions', 'nbreactive/panel:functions', {}, value => {
      this._functions = records(value);
      const opened = this._open && this._functions.find(fn => fn.path === this._open?.path);
      if (opened) {
        this._open?.describe(opened);
      }
      this._paint();
    });
    if (this.around.roles.has('deploy')) {
      this.follow('metrics', '_system/panel:metrics', {}, value => {
        this._measured.clear();
        records(value).forEach(row => this._measured.set(text(row.path), row));
        this._open?.measure(this._measured.get(this._open.path) ?? {});
        this._paint();
      });
    }
    this._open?.show();
  }

  override hide(): void {
    super.hide();
    this._open?.hide();
  }

  private _paint(): void {
    const wanted = this._search.value.trim().toLowerCase();
    this._rows.update(this._functions.filter(fn => text(fn.path).toLowerCase().includes(wanted)));
  }

  private _show(fn: Fields): void {
    const back = () => {
      this._open?.hide();
      this._open = null;
      this.node.replaceChildren(this.problem, this._list);
    };
    this._open = new FunctionPage(this.around, fn, back);
    this._open.measure(this._measured.get(this._open.path) ?? {});
    this.node.replaceChildren(this.problem, this._open.node);
    this._open.show();
    this._open.focus();
  }
}

export function kindOf(fn: Fields): string {
  return fn.visibility === 'internal' ? `internal ${text(fn.kind)}` : text(fn.kind);
}

function took(measured: Fields, which: 'p50' | 'p99'): string {
  return measured[which] === undefined ? '' : duration(measured[which]);
}
