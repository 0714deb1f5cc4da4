/**
 * The live table: rows of a query or of SQL, shared by the widget (with a kernel), saved outputs (without one) and the panel.
 *
 * It needs nothing but a document: `new LiveTable(document)`, put its `node` somewhere, and call `update({...EMPTY, table, status})`
 * whenever something is new. What `hooks` leaves out is not offered. What a reader has done (sorted, filtered, moved columns,
 * selected, scrolled) belongs to the table and survives updates.
 *
 * What collaborators write arrives here, so everything is painted through `textContent`; no value is ever parsed as HTML.
 */

import type { Json } from '../connection/page';
import { cellText } from './cell_text';
import { Grid } from './grid';
import { columnsOf, columnsOfTypes, isSystem, sameColumns, type Cells, type Column } from './table/columns';
import { Edits, type Edit } from './table/edits';
import { Editor, type Next } from './table/editor';
import { textOf, wholeText } from './table/formats';
import { columnChooser, columnMenu, type MenuHooks } from './table/menus';
import { isWhole, type Field } from './table/parsing';
import { button, Popup } from './table/popup';
import { Rows } from './table/rows';
import { RowSelection, type Key } from './table/selection';
import type { Sort } from './table/sorting';
import {
  ANY_FIELD,
  describeCount,
  describeFiltered,
  describeFrame,
  describeStatus,
  EMPTY,
  type LiveState,
  type More,
  type Options,
} from './table/state';
import type { Thumbnails } from './thumbnails';

export { cellText };
export { describeCount, describeStatus, describeTime, EMPTY } from './table/state';
export type { LiveState, More, Options, Status, TableData } from './table/state';

/** What a table can ask of those around it. */
export interface Hooks {
  /** Load the next page. */
  loadMore: () => void;
  /** These rows of a large result are looked at. */
  want: (offset: number, limit: number) => void;
  /** Other rows are selected: their `_id`s, or where they stand in the result. */
  selected: (keys: Key[]) => void;
  /** Set a field of the document with this id; rejects with why that was refused. */
  edit: (id: string, field: string, value: Json) => Promise<unknown>;
  thumbnails: Thumbnails | null;
}

const NOTHING: Hooks = {
  loadMore: () => undefined,
  want: () => undefined,
  selected: () => undefined,
  edit: () => Promise.reject(new Error('this table cannot be edited')),
  thumbnails: null,
};

/** Rows mostly come in a blink: only a longer wait is told of, or the words would flicker. */
const WAIT = 200;
/** Milliseconds after the last letter of a filter. */
const TYPING = 80;

export class LiveTable {
  readonly node: HTMLElement;
  private readonly _hooks: Hooks;
  private readonly _state: HTMLElement;
  private readonly _title: HTMLElement;
  private readonly _badge: HTMLElement;
  private readonly _count: HTMLElement;
  private readonly _search: HTMLInputElement;
  private readonly _chooser: HTMLButtonElement;
  private readonly _message: HTMLElement;
  private readonly _empty: HTMLElement;
  private readonly _more: HTMLButtonElement;
  private readonly _said: HTMLElement;
  private readonly _bubble: HTMLElement;
  private readonly _stage: HTMLElement;
  private readonly _rows = new Rows();
  private readonly _selection: RowSelection;
  private readonly _grid: Grid;
  private readonly _popup: Popup;
  private readonly _editor: Editor;
  private readonly _edits: Edits;
  private _now: LiveState = EMPTY;
  private _columns: readonly Column[] = [];
  /** What is edited, or why an edit was refused: where the field and the bubble are. */
  private _editing: { key: Key; field: string } | null = null;
  private _refused: Edit | null = null;
  private _selected: readonly Key[] = [];
  private _waiting: ReturnType<typeof setTimeout> | undefined;
  private _typing: ReturnType<typeof setTimeout> | undefined;

  constructor(document: Document, hooks: Partial<Hooks> = {}) {
    this._hooks = { ...NOTHING, ...hooks };
    const make = <K extends keyof HTMLElementTagNameMap>(tag: K, parent: HTMLElement, className = '') => {
      const node = document.createElement(tag);
      node.className = className;
      parent.append(node);
      return node;
    };
    this.node = document.createElement('section');
    this.node.className = 'nbr-live';
    const bar = make('div', this.node, 'nbr-bar');
    this._state = make('span', bar, 'nbr-state');
    this._state.setAttribute('role', 'status');
    this._title = make('span', bar, 'nbr-title');
    this._badge = make('span', bar, 'nbr-badge');
    this._count = make('span', bar, 'nbr-count');
    this._search = make('input', bar, 'nbr-search');
    this._search.type = 'search';
    this._search.placeholder = 'Filter';
    this._search.setAttribute('aria-label', 'Filter rows');
    this._search.setAttribute('data-lm-suppress-shortcuts', 'true');
    this._search.addEventListener('input', () => {
      clearTimeout(this._typing);
      this._typing = setTimeout(() => this._filter(), TYPING);
    });
    this._search.addEventListener('keydown', event => {
      event.stopPropagation();
      if (event.key === 'Enter' || event.key === 'ArrowDown') {
        event.preventDefault();
        this._filter();
        this._grid.node.focus();
      }
    });
    this._chooser = button(bar, 'Columns', () =>
      columnChooser(this._popup, this._chooser, this._columns, this._grid.layout, this._menus()),
    );
    this._chooser.className = 'nbr-chooser';
    this._chooser.setAttribute('aria-haspopup', 'dialog');
    this._message = make('div', this.node, 'nbr-message');
    this._message.setAttribute('role', 'alert');
    this._stage = make('div', this.node, 'nbr-stage');
    this._popup = new Popup(this.node);
    this._editor = new Editor(this._stage);
    this._edits = new Edits(this._hooks.edit, edit => this._edited(edit));
    this._selection = new RowSelection(keys => {
      this._selected = keys;
      this._hooks.selected(keys);
    });
    this._grid = new Grid(document, this._rows, this._selection, {
      want: this._hooks.want,
      sort: column => this._sortNext(column),
      menu: (column, cell) => this._openMenu(column, cell),
      open: ({ row, column, cell, typed }) => this._open(row, column, cell, typed),
      copied: rows => this._say(rows === 1 ? 'copied' : `copied ${rows.toLocaleString('en')} rows`),
      painted: () => this._place(),
      editable: column => this._fieldOf(column) !== null,
    });
    this._grid.thumbnails = this._hooks.thumbnails;
    this._grid.edits = this._edits;
    this._stage.append(this._grid.node);
    this._bubble = make('div', this._stage, 'nbr-bubble');
    this._bubble.setAttribute('role', 'alert');
    this._bubble.hidden = true;
    this._empty = make('div', this.node, 'nbr-empty');
    this._more = button(this.node, '', () => {
      if (this._more.getAttribute('aria-disabled') !== 'true') {
        this._hooks.loadMore();
      }
    });
    this._more.className = 'nbr-more';
    this._said = make('div', this.node, 'nbr-said');
    this._said.setAttribute('role', 'status');
    this.update(EMPTY);
  }

  update(state: LiveState): void {
    const { table, frame, window, status, options } = state;
    const name = state.title || 'live query';
    clearTimeout(this._waiting);
    if (state.dimmed && status === 'loading') {
      this._waiting = setTimeout(() => this._paintState(state), WAIT);
    } else {
      this._paintState(state);
    }
    setOptional(this._title, state.title);
    setOptional(this._badge, state.badge);
    setOptional(this._message, state.message);
    this._setOptions(options);
    this._now = state;
    const newest = window ?? frame;
    const formats = options.formats;
    let sample: readonly Cells[];
    if (newest === null) {
      this._setColumns(columnsOf(table.columns, table.kinds, table.rows, formats));
      this._rows.setLocal(this._columns, table.rows);
      sample = table.rows;
    } else {
      this._setColumns(columnsOfTypes(newest.columns, newest.types, formats));
      if (newest.offset === 0 && newest.rows.length >= newest.total) {
        this._rows.setLocal(this._columns, newest.rows);
      } else {
        this._rows.setWindowed(this._columns, frame ?? newest, window);
      }
      sample = newest.rows;
    }
    this._edits.settle((key, field) => this._valueOf(key, field));
    this._grid.update(name, this._columns, sample);
    this._grid.node.hidden = this._columns.length === 0;
    this._paintMore(state.more);
    this._paintCount();
  }

  // ---- what is told around the rows ----

  private _paintState({ status, dimmed, updated }: LiveState): void {
    this.node.dataset.status = status;
    this.node.classList.toggle('nbr-dimmed', dimmed);
    setText(this._state, describeStatus(status, updated));
    this._state.title = updated > 0 ? `last update ${new Date(updated).toLocaleString()}` : '';
  }

  private _paintCount(): void {
    const { table, frame, window, status } = this._now;
    const { count, total, filtered, local } = this._rows;
    const newest = window ?? frame;
    setText(
      this._count,
      filtered ? describeFiltered(count, total) : newest ? describeFrame(newest) : describeCount(table),
    );
    const plain = table.document === true || (total < 2 && !filtered);
    this._search.hidden = plain || !local;
    this._chooser.hidden = plain && this._columns.length < 2;
    setOptional(this._empty, count > 0 ? '' : filtered ? 'no rows like that' : status === 'loading' ? 'loading…' : 'no rows');
  }

  /** The button stays in the order of tabs while rows are loaded, so that a keyboard can go on where it was. */
  private _paintMore(more: More): void {
    const root = this.node.getRootNode() as Document | ShadowRoot;
    if (more === '' && root.activeElement === this._more) {
      this._grid.node.focus();
    }
    setOptional(this._more, more === '' ? '' : more === 'loading' ? 'Loading…' : 'Load more');
    this._more.setAttribute('aria-disabled', String(more === 'loading'));
  }

  /** Tell a screen reader. */
  private _say(text: string): void {
    this._said.textContent = text;
  }

  private _setOptions(options: Options): void {
    if (options === this._now.options) {
      return;
    }
    this._selection.mode = options.selection;
    if (JSON.stringify(options.selected) !== JSON.stringify(this._selected)) {
      this._selected = options.selected;
      this._selection.set(options.selected);
    }
    this.node.style.setProperty('--nbr-height', options.height > 0 ? `${options.height}px` : '');
  }

  private _setColumns(columns: Column[]): void {
    if (!sameColumns(columns, this._columns)) {
      this._columns = columns;
    }
  }

  // ---- sorting and filtering ----

  /** Ascending, descending, as they come. */
  private _sortNext(column: Column): void {
    const { sort } = this._rows;
    const mine = sort?.column === column.name;
    this._sort(!mine ? { column: column.name, descending: false } : sort.descending ? null : { ...sort, descending: true });
  }

  private _sort(sort: Sort | null): void {
    if (!this._rows.local) {
      this._say('Only some of the rows are here: sort them in the statement, with ORDER BY.');
      return;
    }
    this._rows.sort = sort;
    this._arrange(sort ? `sorted by ${sort.column}, ${sort.descending ? 'descending' : 'ascending'}` : 'not sorted');
  }

  private _filter(): void {
    clearTimeout(this._typing);
    if (this._rows.search !== this._search.value) {
      this._rows.search = this._search.value;
      this._arrange();
    }
  }

  private _arrange(said = ''): void {
    this._rows.arrange();
    this._grid.arranged();
    this._paintCount();
    this._say(said || (this._rows.filtered ? `${this._count.textContent} shown` : 'all rows shown'));
  }

  private _openMenu(column: Column, anchor: Element): void {
    const { sort, conditions, local } = this._rows;
    const state = { sort, condition: conditions.get(column.name) ?? '', local };
    columnMenu(this._popup, anchor, column, state, this._menus());
  }

  private _menus(): MenuHooks {
    const grid = this._grid;
    return {
      sort: sort => this._sort(sort),
      filter: (column, text) => {
        if (text.trim()) {
          this._rows.conditions.set(column.name, text);
        } else {
          this._rows.conditions.delete(column.name);
        }
        clearTimeout(this._typing);
        this._typing = setTimeout(() => this._arrange(), TYPING);
      },
      move: (column, by) => {
        const shown = grid.columns;
        const to = shown[shown.indexOf(column) + by];
        if (to) {
          grid.move(column, to);
        }
      },
      widen: (column, by) => grid.widen(column, by === null ? null : Math.max(36, grid.widthOf(column) + by)),
      hide: (column, hidden) => {
        if (hidden && grid.columns.length > 1) {
          grid.layout.hidden.add(column.name);
        } else {
          grid.layout.hidden.delete(column.name);
        }
        grid.relayout();
      },
    };
  }

  // ---- editing ----

  private _fieldOf(column: Column): Field | null {
    const { edit } = this._now.options;
    const { name, kind } = column;
    const field = edit === null ? null : Object.hasOwn(edit, name) ? edit[name]! : isSystem(column) ? null : (edit[ANY_FIELD] ?? null);
    // What is shown as a moment is typed as one, also where its validator takes any number
    return field && (field.kind === '' || kind === 'datetime') ? { ...field, kind } : field;
  }

  private _valueOf(key: Key, field: string): unknown {
    const column = this._columns.find(({ name }) => name === field);
    return column && this._rows.byKey(key)?.[column.at];
  }

  /** Edit a cell, or show the whole of what it has. */
  private _open(row: number, column: Column, cell: HTMLElement | null, typed?: string): void {
    const cells = this._rows.row(row);
    const key = this._rows.keyOf(row);
    const field = this._fieldOf(column);
    if (cells === undefined) {
      return;
    }
    const edit = this._edits.of(key, column.name);
    const pending = edit !== undefined && edit.state !== 'refused' ? edit.value : undefined;
    const value = pending ?? cells[column.at];
    if (field === null || typeof key !== 'string' || !isWhole(value)) {
      this._peek(column, value, cell);
      return;
    }
    const refused = edit?.state === 'refused' ? edit : undefined;
    if (refused) {
      this._edits.dismiss(key, column.name);
    }
    this._refused = null;
    this._editing = { key, field: column.name };
    this._editor.start(
      {
        name: `${column.name} of row ${row + 1}`,
        field,
        value,
        text: typed ?? (refused && wholeText(refused.value)),
        problem: refused?.problem,
      },
      {
        commit: changed => this._edits.begin(key, column.name, changed, cells[column.at]),
        closed: next => this._next(next),
      },
    );
    this._place();
  }

  private _next(next: Next): void {
    this._editing = null;
    const { active } = this._grid;
    this._grid.node.focus();
    if (active !== null && next !== 'stay') {
      const [row, column] = { down: [1, 0], right: [0, 1], left: [0, -1] }[next] as [number, number];
      this._grid.go(active.row + row, active.column + column);
    }
  }

  private _edited(edit: Edit): void {
    const { key, field } = edit;
    const now = this._edits.of(key, field);
    this._refused = now?.state === 'refused' ? now : this._refused?.key === key && this._refused.field === field ? null : this._refused;
    setOptional(this._bubble, this._refused?.problem.slice(0, 1_000) ?? '');
    this._grid.paint();
  }

  private _peek(column: Column, value: unknown, cell: HTMLElement | null): void {
    const link = cell?.querySelector('a');
    if (link) {
      link.click();
      return;
    }
    const whole = wholeText(value);
    if (cell === null || (whole === textOf(value, column) && cell.scrollWidth <= cell.clientWidth)) {
      return;
    }
    this._popup.open(`${column.name.slice(0, 100)}, the whole of it`, cell, box => {
      const text = box.ownerDocument.createElement('pre');
      text.tabIndex = 0;
      text.textContent = whole.slice(0, 100_000);
      box.append(text);
    });
  }

  /** Let what lies over the grid follow its cell. */
  private _place(): void {
    if (!this._editor.open && this._refused === null) {
      if (!this._bubble.hidden) {
        setOptional(this._bubble, '');
      }
      return;
    }
    const stage = this._stage.getBoundingClientRect();
    const over = (key: Key, field: string) => {
      const rect = this._grid.rectOf(key, field);
      return rect && { left: rect.left - stage.left, top: rect.top - stage.top, width: rect.width, height: rect.height };
    };
    if (this._editor.open && this._editing) {
      this._editor.place(over(this._editing.key, this._editing.field));
    }
    const cell = this._refused && over(this._refused.key, this._refused.field);
    this._bubble.hidden = cell === null;
    if (cell) {
      this._bubble.style.left = `${cell.left}px`;
      this._bubble.style.top = `${cell.top + cell.height}px`;
    }
  }
}

function setText(node: HTMLElement, text: string): void {
  if (node.textContent !== text) {
    node.textContent = text;
  }
}

function setOptional(node: HTMLElement, text: string): void {
  setText(node, text);
  node.hidden = text === '';
}
