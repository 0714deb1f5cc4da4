/**
 * A table of what a live query gives: rows keep their elements as long as they are there, so that focus, selection and what
 * somebody reads stay where they are while others change things.
 */

import { setText, type Child, type Dom } from './dom';

export interface Column<T> {
  readonly name: string;
  readonly label: string;
  /** What is shown; or elements of its own, made once for each row. */
  readonly text?: (row: T) => string;
  readonly make?: (row: () => T) => Child;
  /** Called with each new state of the row, for what `make` has made. */
  readonly refresh?: (node: HTMLElement, row: T) => void;
  readonly number?: boolean;
  /** Of the system: there when it is looked for, narrow otherwise. */
  readonly quiet?: boolean;
  /** The whole of it on hovering. */
  readonly title?: (row: T) => string;
}

export interface RowsOptions<T> {
  readonly label: string;
  readonly empty: string;
  readonly key: (row: T) => string;
  readonly columns: readonly Column<T>[];
  /** Rows can be chosen; told which are. */
  readonly chosen?: (keys: ReadonlySet<string>) => void;
  /** What happens when a row is opened, by its first column. */
  readonly open?: (row: T) => void;
  readonly kind?: (row: T) => string;
  /** How a row is called, for whoever hears it. */
  readonly named?: (row: T) => string;
}

interface Shown<T> {
  readonly node: HTMLTableRowElement;
  readonly cells: HTMLElement[];
  readonly box: HTMLInputElement | null;
  row: T;
}

export class Rows<T> {
  readonly node: HTMLElement;
  private readonly _head: HTMLTableRowElement;
  private readonly _body: HTMLTableSectionElement;
  private readonly _empty: HTMLElement;
  private readonly _all: HTMLInputElement | null = null;
  private readonly _shown = new Map<string, Shown<T>>();
  private _chosen = new Set<string>();
  private _columns: readonly Column<T>[] = [];

  constructor(
    private readonly _dom: Dom,
    private readonly _options: RowsOptions<T>,
  ) {
    this._head = _dom.make('tr');
    this._body = _dom.make('tbody');
    this._empty = _dom.make('div', { class: 'nbr-panel-empty' }, _options.empty);
    const table = _dom.make('table', {}, _dom.make('caption', {}, _options.label), _dom.make('thead', {}, this._head), this._body);
    this.node = _dom.make(
      'div',
      { class: 'nbr-panel-rows', attrs: { role: 'region', tabindex: '0', 'aria-label': _options.label } },
      table,
      this._empty,
    );
    if (_options.chosen) {
      this._all = this._box('all rows', () => {
        this._chosen = new Set(this._all?.checked ? this._shown.keys() : []);
        this._tellChosen();
      });
    }
    this._setColumns(_options.columns);
  }

  /** Show rows, perhaps with other columns than before. */
  update(rows: readonly T[], columns: readonly Column<T>[] = this._columns): void {
    if (columns !== this._columns) {
      this._setColumns(columns);
    }
    const keys = new Set<string>();
    let before: Element | null = null;
    for (const row of rows) {
      const key = this._options.key(row);
      if (keys.has(key)) {
        continue;
      }
      keys.add(key);
      const shown = this._shown.get(key) ?? this._add(key, row);
      shown.row = row;
      this._paint(shown);
      const place: Element | null = before ? before.nextElementSibling : this._body.firstElementChild;
      if (place !== shown.node) {
        this._body.insertBefore(shown.node, place);
      }
      before = shown.node;
    }
    for (const [key, { node }] of [...this._shown]) {
      if (!keys.has(key)) {
        node.remove();
        this._shown.delete(key);
      }
    }
    this._empty.hidden = rows.length > 0;
    const left = [...this._chosen].filter(key => keys.has(key));
    if (left.length !== this._chosen.size) {
      this._chosen = new Set(left);
      this._tellChosen();
    }
  }

  choose(keys: Iterable<string>): void {
    this._chosen = new Set([...keys].filter(key => this._shown.has(key)));
    this._tellChosen();
  }

  private _setColumns(columns: readonly Column<T>[]): void {
    this._columns = columns;
    this._shown.clear();
    this._body.replaceChildren();
    const heads = columns.map(column => {
      const { label } = column;
      const head = this._dom.make('th', { class: classOf(column), attrs: { scope: 'col' } }, label);
      if (label === '') {
        head.append(this._dom.make('span', { class: 'nbr-panel-hidden' }, 'actions'));
      }
      return head;
    });
    const first = this._all ? [this._dom.make('th', { class: 'nbr-panel-check', attrs: { scope: 'col' } }, this._all)] : [];
    this._head.replaceChildren(...first, ...heads);
  }

  private _add(key: string, row: T): Shown<T> {
    const { chosen, open, named } = this._options;
    const box = chosen
      ? this._box(named?.(row) ?? key, () => {
          if (box?.checked) {
            this._chosen.add(key);
          } else {
            this._chosen.delete(key);
          }
          this._tellChosen();
        })
      : null;
    const shown: Shown<T> = { node: this._dom.make('tr'), cells: [], box, row };
    if (box) {
      shown.node.append(this._dom.make('td', { class: 'nbr-panel-check' }, box));
    }
    this._columns.forEach((column, i) => {
      let inner: HTMLElement = this._dom.make('td', { class: classOf(column) });
      shown.node.append(inner);
      if (column.make) {
        const made = column.make(() => shown.row);
        inner.append(...(made ? [made] : []));
        inner = made instanceof Object && 'classList' in made ? (made as HTMLElement) : inner;
      } else if (i === 0 && open) {
        const button = this._dom.button('', () => open(shown.row), { class: 'nbr-panel-link' });
        inner.append(button);
        inner = button;
      }
      shown.cells.push(inner);
    });
    this._shown.set(key, shown);
    return shown;
  }

  private _paint({ node, cells, box, row }: Shown<T>): void {
    const kind = this._options.kind?.(row) ?? '';
    if (node.className !== kind) {
      node.className = kind;
    }
    if (box) {
      box.checked = this._chosen.has(this._options.key(row));
    }
    this._columns.forEach((column, i) => {
      const cell = cells[i]!;
      if (column.text) {
        setText(cell, column.text(row));
        const title = column.title?.(row) ?? '';
        if (cell.title !== title) {
          cell.title = title;
        }
      }
      column.refresh?.(cell, row);
    });
  }

  private _box(label: string, changed: () => void): HTMLInputElement {
    const box = this._dom.make('input', { attrs: { 'aria-label': `select ${label}` }, on: { change: changed } });
    box.type = 'checkbox';
    return box;
  }

  private _tellChosen(): void {
    for (const [key, { box }] of this._shown) {
      if (box) {
        box.checked = this._chosen.has(key);
      }
    }
    if (this._all) {
      this._all.checked = this._chosen.size > 0 && this._chosen.size === this._shown.size;
      this._all.indeterminate = this._chosen.size > 0 && !this._all.checked;
    }
    this._options.chosen?.(new Set(this._chosen));
  }
}

/** Buttons stay in sight at the right edge, however wide the table is. */
function classOf<T>({ label, number, quiet }: Column<T>): string {
  return label === '' ? 'nbr-panel-do' : number ? 'nbr-number' : quiet ? 'nbr-system' : '';
}
