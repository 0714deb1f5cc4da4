/**
 * One table: its documents page by page, live, with filters; adding, changing and deleting them, one or many; its schema and
 * its indexes.
 */

import type { Args, Json } from '../../connection/page';
import { cellText } from '../../views/cell_text';
import { LivePage, type Surroundings } from '../page';
import { Rows, type Column } from '../rows';
import { count, describeFields, describeValidator, parseLoose, record, records, text, type Fields } from '../values';
import { DocumentEditor } from './document';

const PAGE = 50;
/** More columns than this are in the document, and not in the table. */
const COLUMNS = 30;
const LONG = 120;

interface Filter {
  readonly field: string;
  readonly op: string;
  readonly value: Json;
}

const OPERATORS: readonly (readonly [string, string])[] = [
  ['eq', '='],
  ['neq', '≠'],
  ['lt', '<'],
  ['lte', '≤'],
  ['gt', '>'],
  ['gte', '≥'],
];

export class TablePage extends LivePage {
  private readonly _rows: Rows<Fields>;
  private readonly _title: HTMLElement;
  private readonly _details: HTMLElement;
  private readonly _chips: HTMLElement;
  private readonly _bulk: HTMLElement;
  private readonly _bulkCount: HTMLElement;
  private readonly _editing: HTMLElement;
  private readonly _pager: HTMLElement;
  private readonly _where: HTMLElement;
  private readonly _fields: HTMLDataListElement;
  private _filters: Filter[] = [];
  private _order: 'asc' | 'desc' = 'desc';
  /** Where the pages before this one began. */
  private _cursors: Json[] = [null];
  private _next: Json = null;
  private _chosen: readonly string[] = [];
  private _columns: readonly Column<Fields>[] = [];
  private _names = '';
  private _validator: unknown = null;
  private _count = 0;

  constructor(
    around: Surroundings,
    private readonly _table: string,
    back: () => void,
  ) {
    super(around);
    const { dom, say } = around;
    this._title = dom.make('h3', { attrs: { tabindex: '-1' } }, _table);
    this._details = dom.make('dl', { class: 'nbr-panel-facts' });
    this._fields = dom.make('datalist');
    this._fields.id = `nbr-fields-${Math.random().toString(36).slice(2)}`;
    this._chips = dom.make('div', { class: 'nbr-panel-chips' });
    this._editing = dom.make('div');
    this._bulkCount = dom.make('strong');
    this._bulk = this._makeBulk();
    this._rows = new Rows<Fields>(dom, {
      label: say('Documents of %1', _table),
      empty: say('no documents'),
      key: row => text(row._id),
      named: row => text(row._id),
      open: row => this._edit(row),
      chosen: keys => this._choose([...keys]),
      columns: [],
    });
    this._where = dom.make('span', { attrs: { role: 'status' } });
    this._pager = dom.make(
      'div',
      { class: 'nbr-panel-bar' },
      dom.button(say('Previous'), () => this._turn(-1)),
      this._where,
      dom.button(say('Next'), () => this._turn(1)),
    );
    const order = dom.select(say('Order'), [
      ['desc', say('newest first')],
      ['asc', say('oldest first')],
    ]);
    order.addEventListener('change', () => {
      this._order = order.value === 'asc' ? 'asc' : 'desc';
      this._restart();
    });
    this.node.append(
      dom.make(
        'div',
        { class: 'nbr-panel-bar' },
        dom.button(say('← Tables'), back),
        this._title,
        dom.button(say('Add document'), () => this._edit(null)),
      ),
      dom.make('details', {}, dom.make('summary', {}, say('Schema and indexes')), this._details),
      this._makeFilter(order),
      this._chips,
      this._editing,
      this._bulk,
      this._rows.node,
      this._pager,
      this._fields,
    );
    this._choose([]);
  }

  focus(): void {
    this._title.focus();
  }

  show(): void {
    const { say } = this.around;
    this.follow('table', '_system/panel:table', { table: this._table }, value => this._describe(value));
    this.follow('count', '_system/tables:count', { table: this._table }, value => {
      this._count = typeof value === 'number' ? value : 0;
      this._title.textContent = say('%1 (%2)', this._table, count(value));
      this._paintPager();
    });
    this._load();
  }

  private _load(): void {
    const paginationOpts = { numItems: PAGE, cursor: this._cursors.at(-1) ?? null };
    const args: Args = { table: this._table, paginationOpts, order: this._order };
    if (this._filters.length > 0) {
      args.filters = this._filters.map(filter => ({ ...filter }));
    }
    this.follow('page', '_system/panel:page', args, value => {
      const { page, isDone, continueCursor } = record(value);
      const rows = records(page);
      this._next = isDone === true ? null : (continueCursor as Json);
      this._rows.update(rows, this._columnsOf(rows));
      this._paintPager();
    });
  }

  /** Fields of the schema first, in its order, then whatever else there is. */
  private _columnsOf(rows: readonly Fields[]): readonly Column<Fields>[] {
    const known = Object.keys(record(record(this._validator).value));
    const names = new Set([...known, ...rows.flatMap(row => Object.keys(row)).filter(name => !name.startsWith('_'))]);
    const shown = ['_id', ...[...names].slice(0, COLUMNS), '_creationTime'];
    if (shown.join('\n') !== this._names) {
      this._names = shown.join('\n');
      this._fields.replaceChildren(...[...names, '_creationTime', '_id'].map(name => this.around.dom.option(name, name)));
      this._columns = shown.map(name => ({
        name,
        label: name,
        quiet: name.startsWith('_'),
        text: row => (row[name] === undefined ? '' : clipped(cellText(row[name]))),
        title: row => (row[name] === undefined ? '' : cellText(row[name]).slice(0, 2000)),
      }));
    }
    return this._columns;
  }

  private _describe(value: Json): void {
    const { dom, say } = this.around;
    const info = record(value);
    this._validator = info.validator;
    const fact = (name: string, said: string) => [dom.make('dt', {}, name), dom.make('dd', {}, said)];
    const shown = record(info.validator).type === 'object' ? describeFields(info.validator) : describeValidator(info.validator);
    const indexes = records(info.indexes).map(index => {
      const fields = Array.isArray(index.fields) ? index.fields.join(', ') : '';
      const kind = index.kind === 'ordered' ? '' : ` · ${text(index.kind)}`;
      return `${text(index.name)}${fields && ` (${fields})`}${kind}${index.state === 'ready' ? '' : ` · ${text(index.state)}`}`;
    });
    this._details.replaceChildren(
      ...fact(say('Fields'), info.validator ? shown : say('any: this table has no schema')),
      ...fact(say('Indexes'), indexes.join('\n')),
      ...fact(say('Declared in'), text(info.module) || say('nowhere')),
      ...(Array.isArray(info.rules) ? fact(say('Rules for'), info.rules.join(', ') || say('nobody')) : []),
      ...(info.ephemeral === true ? fact(say('Kept'), say('in memory only')) : []),
    );
  }

  // ---- filters and pages ----

  private _makeFilter(order: HTMLElement): HTMLElement {
    const { dom, say } = this.around;
    const field = dom.input(say('Field'), { attrs: { placeholder: say('field') } });
    field.setAttribute('list', this._fields.id);
    const op = dom.select(say('Comparison'), OPERATORS);
    const value = dom.input(say('Value'), { attrs: { placeholder: say('value, as JSON or a word') } });
    const form = dom.make(
      'form',
      { class: 'nbr-panel-bar', attrs: { 'aria-label': say('Filter') } },
      field,
      op,
      value,
      submit(dom.button(say('Filter'), () => undefined)),
      order,
    );
    form.addEventListener('submit', event => {
      event.preventDefault();
      if (field.value.trim()) {
        this._filters = [...this._filters, { field: field.value.trim(), op: op.value, value: parseLoose(value.value) }];
        field.value = value.value = '';
        this._restart();
      }
    });
    return form;
  }

  private _restart(): void {
    const { dom, say } = this.around;
    this._cursors = [null];
    this._chips.replaceChildren(
      ...this._filters.map(filter => {
        const sign = OPERATORS.find(([name]) => name === filter.op)?.[1] ?? filter.op;
        const said = `${filter.field} ${sign} ${JSON.stringify(filter.value)}`;
        return dom.button(`${said} ✕`, () => {
          this._filters = this._filters.filter(other => other !== filter);
          this._restart();
        }, { class: 'nbr-panel-chip', attrs: { 'aria-label': say('Remove the filter %1', said) } });
      }),
    );
    this._load();
  }

  private _turn(by: number): void {
    if (by > 0 && this._next !== null) {
      this._cursors = [...this._cursors, this._next];
    } else if (by < 0 && this._cursors.length > 1) {
      this._cursors = this._cursors.slice(0, -1);
    } else {
      return;
    }
    this._load();
  }

  private _paintPager(): void {
    const [previous, , next] = this._pager.children;
    previous!.setAttribute('aria-disabled', String(this._cursors.length < 2));
    next!.setAttribute('aria-disabled', String(this._next === null));
    const pages = Math.max(Math.ceil(this._count / PAGE), this._cursors.length);
    const { say } = this.around;
    this._where.textContent =
      this._filters.length > 0 ? say('page %1', this._cursors.length) : say('page %1 of %2', this._cursors.length, pages);
    this._pager.hidden = this._cursors.length < 2 && this._next === null;
  }

  // ---- changing ----

  private _edit(row: Fields | null): void {
    const { backend, say } = this.around;
    const close = () => this._editing.replaceChildren();
    const editor = new DocumentEditor(this.around, this._validator, row, {
      save: document =>
        row === null
          ? backend.mutate('_system/tables:insert_many', { table: this._table, documents: [document] })
          : backend.mutate('_system/panel:replace', { id: text(row._id), document }),
      saved: () => {
        close();
        this.around.tell(row === null ? say('The document was added.') : say('The document was saved.'));
      },
      close,
      remove: row === null ? null : () => backend.mutate('_system/panel:delete', { ids: [text(row._id)] }),
    });
    this._editing.replaceChildren(editor.node);
    editor.focus();
  }

  private _choose(ids: readonly string[]): void {
    this._chosen = ids;
    this._bulk.hidden = ids.length === 0;
    this._bulkCount.textContent = this.around.say('%1 selected', ids.length);
  }

  private _makeBulk(): HTMLElement {
    const { dom, say, backend } = this.around;
    const field = dom.input(say('Field to change'), { attrs: { placeholder: say('field') } });
    field.setAttribute('list', this._fields.id);
    const value = dom.input(say('New value'), { attrs: { placeholder: say('new value, as JSON or a word') } });
    const set = submit(dom.button(say('Set'), () => undefined));
    const form = dom.make(
      'form',
      { class: 'nbr-panel-bar nbr-panel-bulk', attrs: { 'aria-label': say('Change the selected documents') } },
      this._bulkCount,
      field,
      value,
      set,
      this.sure(
        say('Delete'),
        button => {
          const ids = [...this._chosen];
          void this.run(button, () => backend.mutate('_system/panel:delete', { ids }), say('%1 deleted.', ids.length));
        },
        say('Delete the selected documents'),
      ),
    );
    form.addEventListener('submit', event => {
      event.preventDefault();
      const name = field.value.trim();
      if (name && this._chosen.length > 0) {
        const args = { ids: [...this._chosen], fields: { [name]: parseLoose(value.value) } };
        void this.run(set, () => backend.mutate('_system/panel:change', args), say('%1 changed.', args.ids.length));
      }
    });
    return form;
  }
}

function submit(button: HTMLButtonElement): HTMLButtonElement {
  button.type = 'submit';
  return button;
}

function clipped(shown: string): string {
  return shown.length > LONG ? `${shown.slice(0, LONG)}…` : shown;
}
