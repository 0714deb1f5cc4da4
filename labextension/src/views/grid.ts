/**
 * The grid of a table: of any number of rows, those in sight are in the page.
 *
 * A painter: it shows what `Rows` has, says which rows it would like to have, and shows what it last had, dimmed, where rows are
 * still to come. All values are painted as text. Where the reader is (the first row in sight, the active cell, selected rows)
 * is kept by the rows themselves, so it stays when others come and go.
 */

import { paintValue } from './table/cell_painter';
import { classOf, isSystem, Layout, sameColumns, type Cells, type Column } from './table/columns';
import { MOST, tsv } from './table/copying';
import type { Edits } from './table/edits';
import { hoverText, textOf } from './table/formats';
import { Header, type HeaderHooks } from './table/header';
import type { Rows } from './table/rows';
import { ROW, Scroller, TALL_ROW } from './table/scroller';
import { rangeOf, type Cell, type RowSelection } from './table/selection';
import type { Thumbnails } from './thumbnails';

export { ROW };

/** Rows beyond the edges of the view that are in the page. */
const BESIDE = 8;
/** How many rows a window has, and by which steps it moves. */
export const LIMIT = 300;
const STEP = 50;
/** Rows that are wanted beyond the edges. */
const MARGIN = 100;
const NEAR = 30;
/** In characters. */
const WIDEST = 40;
const PADDING = 22;
const CHECK = 30;

let grids = 0;

export interface GridHooks extends Omit<HeaderHooks, 'selectAll' | 'resize' | 'fit' | 'move'> {
  /** These rows of a large result are looked at. */
  want(offset: number, limit: number): void;
  /** A cell is to be edited, or looked at as a whole; `typed` begins its new text. */
  open(at: { row: number; column: Column; cell: HTMLElement | null; typed?: string | undefined }): void;
  copied(rows: number): void;
  /** Something is elsewhere now. */
  painted(): void;
  /** Whether a cell may be edited. */
  editable(column: Column): boolean;
}

export class Grid {
  readonly node: HTMLElement;
  readonly layout = new Layout();
  thumbnails: Thumbnails | null = null;
  edits: Edits | null = null;
  private readonly _header: Header;
  private readonly _head: HTMLElement;
  private readonly _space: HTMLElement;
  private readonly _layer: HTMLElement;
  private readonly _scroller: Scroller;
  private readonly _id = `nbr-grid-${grids++}`;
  private _all: readonly Column[] = [];
  private _columns: readonly Column[] = [];
  private _classes: readonly string[] = [];
  private readonly _widths = new Map<string, number>();
  private _first = 0;
  private _active: Cell | null = null;
  private _anchor: Cell | null = null;
  /** The first row in sight, and how far it is scrolled away. */
  private _seen: { key: string | number; part: number; at: number } | null = null;
  private _selects = false;

  constructor(
    document: Document,
    private readonly _rows: Rows,
    private readonly _selection: RowSelection,
    private readonly _hooks: GridHooks,
  ) {
    const make = (parent: HTMLElement | null, className: string, role: string) => {
      const node = document.createElement('div');
      node.className = className;
      node.setAttribute('role', role);
      parent?.append(node);
      return node;
    };
    this.node = make(null, 'nbr-grid', 'grid');
    this.node.tabIndex = 0;
    // Jupyter has keys of its own, which would take the arrows away
    this.node.setAttribute('data-lm-suppress-shortcuts', 'true');
    const head = make(this.node, 'nbr-grid-head', 'rowgroup');
    this._head = make(head, 'nbr-grid-row', 'row');
    this._head.setAttribute('aria-rowindex', '1');
    this._header = new Header(this._head, {
      ..._hooks,
      sort: column => _hooks.sort(column),
      menu: (column, cell) => _hooks.menu(column, cell),
      selectAll: () => {
        this._selection.toggleAll(this._rows);
        this.paint();
      },
      resize: (column, width) => this.widen(column, width),
      fit: column => this.widen(column, null),
      move: (column, to) => this.move(column, to),
    });
    this._space = make(this.node, 'nbr-grid-space', 'none');
    this._layer = make(this._space, 'nbr-grid-layer', 'rowgroup');
    this._scroller = new Scroller(this.node, () => this.paint());
    this.node.addEventListener('scroll', () => this.paint(), { passive: true });
    this.node.addEventListener('keydown', event => this._key(event));
    this.node.addEventListener('mousedown', event => this._press(event));
    this.node.addEventListener('mousemove', event => this._drag(event));
    this.node.addEventListener('dblclick', event => this._double(event));
    this.node.addEventListener('mouseover', event => this._hover(event));
    this.node.addEventListener('copy', event => this._copy(event));
    this.node.addEventListener('focus', () => this._focus());
  }

  /** Show what the rows are now. */
  update(name: string, columns: readonly Column[], sample: readonly Cells[]): void {
    this.node.setAttribute('aria-label', name);
    this.node.setAttribute('aria-multiselectable', String(this._selection.mode === 'many'));
    this.node.setAttribute('aria-readonly', String(!columns.some(column => this._hooks.editable(column))));
    const selects = this._selection.mode !== 'none';
    if (!sameColumns(columns, this._all) || selects !== this._selects) {
      this._all = columns;
      this._selects = selects;
      this._setColumns();
    }
    this._fit(sample);
    this.arranged();
  }

  /** Other rows are shown, or in another order. */
  arranged(): void {
    const { count } = this._rows;
    this._scroller.count = count;
    this.node.setAttribute('aria-rowcount', String(count + 1));
    this._header.setState(this._rows);
    this._active = this._moved(this._active);
    this._anchor = this._moved(this._anchor);
    this._stay();
    this.paint();
  }

  /** The columns that are shown, in order. */
  get columns(): readonly Column[] {
    return this._columns;
  }

  /** The cell of the keyboard. */
  get active(): Cell | null {
    return this._active;
  }

  /** Where a cell is on the screen, if it is in sight. */
  rectOf(key: string | number | undefined, name: string): DOMRect | null {
    const column = this._columns.findIndex(one => one.name === name);
    const row = key === undefined ? -1 : this._rows.find(key, this._active?.row ?? 0);
    return this._node(row, column)?.getBoundingClientRect() ?? null;
  }

  // ---- columns ----

  relayout(): void {
    this._setColumns();
    this.arranged();
  }

  move(column: Column, to: Column): void {
    this.layout.move(this._all, column.name, to.name);
    this.relayout();
  }

  /** Give a column a width in pixels; null lets it fit what it has. */
  widen(column: Column, width: number | null): void {
    if (width === null) {
      this.layout.widths.delete(column.name);
    } else {
      this.layout.widths.set(column.name, width);
    }
    this._setWidths();
    this._hooks.painted();
  }

  widthOf(column: Column): number {
    const cell = this._head.children[this._columns.indexOf(column) + this._lead];
    return cell?.getBoundingClientRect().width ?? 0;
  }

  private get _lead(): number {
    return this._selects ? 1 : 0;
  }

  private _setColumns(): void {
    this._columns = this.layout.shown(this._all);
    this._classes = this._columns.map(classOf);
    for (const { name, type } of this._all) {
      this._widths.set(name, Math.max(this._widths.get(name) ?? 0, Math.min(name.length + type.length + 4, WIDEST)));
    }
    this.node.setAttribute('aria-colcount', String(this._columns.length + this._lead));
    this._header.setColumns(this._columns, this._selects);
    this._header.setState(this._rows);
    this._layer.replaceChildren();
    this._setWidths();
  }

  /** Columns grow as wider values come, and never shrink while somebody reads. */
  private _fit(rows: readonly Cells[]): void {
    let grown = false;
    for (const row of rows.slice(0, LIMIT)) {
      for (const column of this._columns) {
        const most = isSystem(column) && column.name === '_id' ? 14 : WIDEST;
        const width = Math.min(textOf(row[column.at], column).length + 1, most);
        if (width > this._widths.get(column.name)!) {
          this._widths.set(column.name, width);
          grown = true;
        }
      }
    }
    if (grown) {
      this._setWidths();
    }
    const images = rows.slice(0, 50).some(row => row.some(value => this.thumbnails?.shows(value)));
    const height = images ? TALL_ROW : ROW;
    if (height > this._scroller.row) {
      this._scroller.row = height;
      this.node.style.setProperty('--nbr-row', `${height}px`);
    }
  }

  private _setWidths(): void {
    const drawn = (column: Column) => this.layout.widths.get(column.name);
    const [pixels, letters] = this._columns.reduce(
      ([px, ch], column) => {
        const width = drawn(column);
        return width === undefined ? [px + PADDING, ch + this._widths.get(column.name)!] : [px + width, ch];
      },
      [this._selects ? CHECK : 0, 0] as [number, number],
    );
    const columns = this._columns.map(column => {
      const width = drawn(column);
      return width === undefined ? `calc(${this._widths.get(column.name)!}ch + ${PADDING}px)` : `${width}px`;
    });
    this.node.style.setProperty('--nbr-columns', [...(this._selects ? [`${CHECK}px`] : []), ...columns].join(' '));
    this.node.style.setProperty('--nbr-width', `calc(${letters}ch + ${pixels}px)`);
  }

  // ---- painting ----

  paint(): void {
    const scroller = this._scroller;
    const { count } = this._rows;
    const height = `${scroller.height}px`;
    if (this._space.style.height !== height) {
      this._space.style.height = height;
    }
    const top = scroller.top;
    const shown = scroller.view / scroller.row;
    const end = Math.min(count, Math.ceil(top + shown) + BESIDE);
    const first = (this._first = Math.max(0, Math.min(Math.floor(top) - BESIDE, end)));
    this._layer.style.transform = `translateY(${Math.round(scroller.shift(first))}px)`;
    this._resize(end - first);
    let awaited = false;
    for (let at = first; at < end; at++) {
      awaited = !this._paintRow(this._layer.children[at - first] as HTMLElement, at) || awaited;
    }
    this.node.setAttribute('aria-busy', String(awaited));
    this._paintActive();
    this._note(top);
    this._wish(Math.max(0, Math.floor(top)), Math.min(count, Math.ceil(top + shown)));
    this._hooks.painted();
  }

  private _resize(count: number): void {
    const document = this.node.ownerDocument;
    while (this._layer.children.length > count) {
      this._layer.lastElementChild!.remove();
    }
    while (this._layer.children.length < count) {
      const row = document.createElement('div');
      row.className = 'nbr-grid-row';
      row.setAttribute('role', 'row');
      for (let i = 0; i < this._columns.length + this._lead; i++) {
        const cell = document.createElement('div');
        cell.setAttribute('role', 'gridcell');
        cell.setAttribute('aria-colindex', String(i + 1));
        row.append(cell);
      }
      this._layer.append(row);
    }
  }

  /** Paint one row; false if it is not here, and what stood in its place is shown meanwhile. */
  private _paintRow(node: HTMLElement, at: number): boolean {
    const row = this._rows.row(at);
    node.setAttribute('aria-rowindex', String(at + 2));
    node.classList.toggle('nbr-awaited', row === undefined);
    if (row === undefined) {
      return false;
    }
    const key = this._selects || this.edits?.size ? this._rows.keyOf(at) : undefined;
    if (this._selects) {
      const selected = this._selection.has(key);
      node.setAttribute('aria-selected', String(selected));
      const check = node.children[0] as HTMLElement;
      check.className = 'nbr-check';
      check.setAttribute('aria-label', selected ? 'selected' : 'not selected');
    }
    for (let i = 0; i < this._columns.length; i++) {
      const column = this._columns[i]!;
      const cell = node.children[i + this._lead] as HTMLElement;
      paintValue(cell, row[column.at], column, this._classes[i]!, this.edits?.of(key, column.name), this.thumbnails);
    }
    return true;
  }

  private _node(row: number, column: number): HTMLElement | null {
    const line = row < 0 ? null : this._layer.children[row - this._first];
    return column < 0 || !line ? null : ((line.children[column + this._lead] as HTMLElement | undefined) ?? null);
  }

  private _paintActive(): void {
    this.node.querySelectorAll('.nbr-active, .nbr-range').forEach(cell => cell.classList.remove('nbr-active', 'nbr-range'));
    this.node.querySelector(`#${this._id}`)?.removeAttribute('id');
    const active = this._active;
    if (active === null) {
      this.node.removeAttribute('aria-activedescendant');
      return;
    }
    const cell = active.row < 0 ? this._head.children[active.column + this._lead] : this._node(active.row, active.column);
    if (this._anchor !== null) {
      const { top, bottom, left, right } = rangeOf(this._anchor, active);
      const last = Math.min(bottom, this._first + this._layer.children.length - 1);
      for (let row = Math.max(top, this._first); row <= last; row++) {
        for (let column = left; column <= right; column++) {
          this._node(row, column)?.classList.add('nbr-range');
        }
      }
    }
    if (!cell) {
      this.node.removeAttribute('aria-activedescendant');
      return;
    }
    cell.id = this._id;
    cell.classList.add('nbr-active');
    this.node.setAttribute('aria-activedescendant', this._id);
  }

  /** Say which rows should be here, in steps, so that who scrolls a little asks for nothing. */
  private _wish(from: number, to: number): void {
    const { local, total, window } = this._rows;
    if (local || total === 0) {
      return;
    }
    const { offset, rows } = window ?? { offset: 0, rows: [] };
    const before = offset === 0 || from - offset >= NEAR;
    const after = offset + rows.length >= total || offset + rows.length - to >= NEAR;
    if (offset <= from && before && after && rows.length > 0) {
      return;
    }
    this._hooks.want(Math.max(0, Math.floor((from - MARGIN) / STEP) * STEP), LIMIT);
  }

  // ---- staying where one is ----

  private _note(top: number): void {
    const at = Math.floor(top);
    const key = this._rows.local && top > 0 ? this._rows.keyOf(at) : undefined;
    this._seen = typeof key === 'string' ? { key, part: top - at, at } : null;
  }

  /** Rows above have come or gone: go on with what was in sight. At the top, new rows are what one waits for. */
  private _stay(): void {
    const seen = this._seen;
    if (seen !== null && this._rows.keyOf(seen.at) !== seen.key) {
      const now = this._rows.find(seen.key);
      if (now >= 0) {
        this._scroller.top = now + seen.part;
      }
    }
  }

  private _moved(cell: Cell | null): Cell | null {
    if (cell === null || cell.row < 0) {
      return cell && { ...cell, column: bound(cell.column, this._columns.length) };
    }
    const found = cell.key === undefined ? cell.row : this._rows.find(cell.key, cell.row);
    const { count } = this._rows;
    return count === 0
      ? null
      : this._cell(found < 0 ? bound(cell.row, count) : bound(found, count), bound(cell.column, this._columns.length));
  }

  private _cell(row: number, column: number): Cell {
    const key = row < 0 ? undefined : this._rows.keyOf(row);
    return { row, column, key };
  }

  // ---- mouse ----

  private _at(event: Event): { row: number; column: number; cell: HTMLElement } | null {
    const cell = (event.target as Element).closest<HTMLElement>('[role=gridcell]');
    const row = Number(cell?.parentElement?.getAttribute('aria-rowindex')) - 2;
    return cell && row >= 0 ? { row, column: Number(cell.getAttribute('aria-colindex')) - 1 - this._lead, cell } : null;
  }

  private _press(event: MouseEvent): void {
    const at = this._at(event);
    if (at === null || event.button !== 0) {
      return;
    }
    const key = this._rows.keyOf(at.row);
    if (at.column < 0 || event.ctrlKey || event.metaKey) {
      this._selection.toggle(key);
    } else if (event.shiftKey) {
      this._selection.extend(this._rows, at.row);
    } else if (this._selection.mode !== 'none') {
      this._selection.only(key);
    }
    const next = this._cell(at.row, Math.max(at.column, 0));
    this._anchor = event.shiftKey ? (this._anchor ?? this._active) : null;
    this._active = next;
    this.paint();
  }

  private _drag(event: MouseEvent): void {
    const at = event.buttons === 1 && this._active !== null ? this._at(event) : null;
    if (at === null || at.column < 0 || (at.row === this._active!.row && at.column === this._active!.column)) {
      return;
    }
    this._anchor ??= this._active;
    this._active = this._cell(at.row, at.column);
    this._paintActive();
  }

  private _double(event: MouseEvent): void {
    const at = this._at(event);
    if (at !== null && at.column >= 0) {
      event.preventDefault();
      this._hooks.open({ row: at.row, column: this._columns[at.column]!, cell: at.cell });
    }
  }

  /** What is cut short is told as a whole; only now, since most cells are never pointed at. */
  private _hover(event: MouseEvent): void {
    const at = this._at(event);
    const column = at && this._columns[at.column];
    if (at && column) {
      const edit = this.edits?.of(this._rows.keyOf(at.row), column.name);
      const cut = at.cell.scrollWidth > at.cell.clientWidth;
      const title = edit?.problem || hoverText(this._rows.row(at.row)?.[column.at], column, cut);
      if (at.cell.title !== title) {
        at.cell.title = title;
      }
    }
  }

  // ---- keys ----

  private _focus(): void {
    if (this._active === null && this._columns.length > 0 && this.node.matches?.(':focus-visible')) {
      this._active = this._rows.count > 0 ? this._cell(Math.min(Math.ceil(this._scroller.top), this._rows.count - 1), 0) : this._cell(-1, 0);
      this._paintActive();
    }
  }

  /** Go to a cell; the next key goes on from there. */
  go(row: number, column: number, extends_ = false): void {
    const from = this._active;
    const { count } = this._rows;
    this._active = this._cell(Math.min(Math.max(row, -1), count - 1), bound(column, this._columns.length));
    this._anchor = extends_ && this._active.row >= 0 ? (this._anchor ?? from ?? this._active) : null;
    this._reveal();
  }

  private _key(event: KeyboardEvent): void {
    if (this._columns.length === 0 || event.target !== this.node) {
      return;
    }
    const active = this._active ?? this._cell(this._rows.count > 0 ? Math.floor(this._scroller.top) : -1, 0);
    if (active.row < 0 ? this._headerKey(event, active) : this._cellKey(event, active)) {
      event.preventDefault();
      return;
    }
    if (event.altKey || event.metaKey) {
      return;
    }
    const to = this._target(event, active);
    if (to !== null) {
      event.preventDefault();
      const extend = event.shiftKey && active.row >= 0;
      this.go(to.row, to.column, extend);
      if (extend && this._selection.size > 0) {
        this._selection.extend(this._rows, this._active!.row);
        this.paint();
      }
    }
  }

  private _target({ key, ctrlKey }: KeyboardEvent, { row, column }: Cell): { row: number; column: number } | null {
    const page = Math.max(1, Math.floor(this._scroller.view / this._scroller.row) - 1);
    const begun = this._active !== null;
    const { count } = this._rows;
    switch (key) {
      case 'ArrowDown':
        return { row: ctrlKey ? count - 1 : row + (begun ? 1 : 0), column };
      case 'ArrowUp':
        return { row: ctrlKey ? 0 : row - 1, column };
      case 'ArrowLeft':
        return { row, column: ctrlKey ? 0 : column - 1 };
      case 'ArrowRight':
        return { row, column: ctrlKey ? this._columns.length - 1 : column + (begun ? 1 : 0) };
      case 'PageDown':
        return { row: row + page, column };
      case 'PageUp':
        return { row: Math.max(0, row - page), column };
      case 'Home':
        return ctrlKey ? { row: 0, column: 0 } : { row, column: 0 };
      case 'End':
        return ctrlKey ? { row: count - 1, column: this._columns.length - 1 } : { row, column: this._columns.length - 1 };
      default:
        return null;
    }
  }

  /** Keys of a header: true if it was one. */
  private _headerKey(event: KeyboardEvent, active: Cell): boolean {
    const column = this._columns[active.column]!;
    const { key, ctrlKey, shiftKey, altKey } = event;
    const by = key === 'ArrowLeft' ? -1 : key === 'ArrowRight' ? 1 : 0;
    if (key === 'Enter' || key === ' ') {
      this._hooks.sort(column);
    } else if (key === 'ContextMenu' || key === 'F10' || (altKey && key === 'ArrowDown') || key === 'F2') {
      this._hooks.menu(column, this._head.children[active.column + this._lead] as HTMLElement);
    } else if (by !== 0 && ctrlKey) {
      const to = this._columns[active.column + by];
      if (to) {
        this._active = this._cell(-1, active.column + by);
        this.move(column, to);
      }
    } else if (by !== 0 && shiftKey) {
      this.widen(column, Math.max(36, this.widthOf(column) + 20 * by));
    } else {
      return false;
    }
    return true;
  }

  /** Keys of a cell, beside those that go elsewhere: true if it was one. */
  private _cellKey(event: KeyboardEvent, { row, column, key: at }: Cell): boolean {
    const { key, ctrlKey, metaKey, altKey } = event;
    const open = (typed?: string) =>
      this._hooks.open({ row, column: this._columns[column]!, cell: this._node(row, column), typed });
    const control = ctrlKey || metaKey;
    if (key === 'Enter' || key === 'F2') {
      this._reveal();
      open();
    } else if (key === ' ' && this._selection.mode !== 'none') {
      this._selection.toggle(at);
      this.paint();
    } else if (control && key.toLowerCase() === 'a') {
      if (this._selection.mode === 'many') {
        this._selection.toggleAll(this._rows);
      } else {
        this._anchor = this._cell(0, 0);
        this._active = this._cell(this._rows.count - 1, this._columns.length - 1);
      }
      this.paint();
    } else if (key === 'Escape' && this._anchor !== null) {
      this._anchor = null;
      this._paintActive();
    } else if (key.length === 1 && key !== ' ' && !control && !altKey && this._hooks.editable(this._columns[column]!)) {
      this._reveal();
      open(key);
    } else {
      return false;
    }
    return true;
  }

  /** Scroll as far as it takes to see the active cell. */
  private _reveal(): void {
    const { row, column } = this._active!;
    if (row >= 0) {
      this._scroller.reveal(row);
    } else {
      this.paint();
    }
    const cell = this._head.children[column + this._lead] as HTMLElement | undefined;
    if (cell) {
      const { scrollLeft, clientWidth } = this.node;
      if (cell.offsetLeft < scrollLeft) {
        this.node.scrollLeft = cell.offsetLeft;
      } else if (cell.offsetLeft + cell.offsetWidth > scrollLeft + clientWidth) {
        this.node.scrollLeft = cell.offsetLeft + cell.offsetWidth - clientWidth;
      }
    }
  }

  // ---- copying ----

  /** The range of cells, else the selected rows, else the active cell. */
  private _copy(event: ClipboardEvent): void {
    const active = this._active;
    if (event.target !== this.node || event.clipboardData === null) {
      return;
    }
    let [rows, columns]: [Cells[], readonly Column[]] = [[], this._columns];
    if (this._anchor === null && this._selection.size > 0) {
      for (let at = 0; at < this._rows.count && rows.length < MOST; at++) {
        const row = this._selection.has(this._rows.keyOf(at)) ? this._rows.row(at) : undefined;
        rows = row === undefined ? rows : (rows.push(row), rows);
      }
    } else if (active !== null && active.row >= 0) {
      const { top, bottom, left, right } = rangeOf(this._anchor ?? active, active);
      columns = this._columns.slice(left, right + 1);
      for (let at = top; at <= Math.min(bottom, top + MOST - 1); at++) {
        const row = this._rows.row(at);
        rows = row === undefined ? rows : (rows.push(row), rows);
      }
    }
    if (rows.length > 0) {
      event.preventDefault();
      event.stopPropagation();
      event.clipboardData.setData('text/plain', tsv(rows, columns));
      this._hooks.copied(rows.length);
    }
  }
}

function bound(value: number, count: number): number {
  return Math.min(Math.max(value, 0), Math.max(count - 1, 0));
}
