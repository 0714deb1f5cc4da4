/**
 * A table of any number of rows, of which only those in sight are in the page.
 *
 * A pure painter: it is given the rows that are here, says which it would like to have, and shows what it last had,
 * dimmed, where rows are still to come. All values are painted as text. Browsers bound the height of an element, so
 * a very long table has less height than its rows: then the bar goes through them in larger steps, while wheel and keys
 * still move by rows.
 */

import { columnClass, sqlText, visible } from './sql_values';
import type { Frame } from './windows';

/** The height of a row in pixels, as the style sheet has it. */
export const ROW = 25;
/** Firefox bounds elements at some 17 million pixels. */
const TALLEST = 8_000_000;
/** Rows beyond the edges of the view that are in the page. */
const BESIDE = 8;
/** How many rows a window has, and by which steps it moves. */
export const LIMIT = 300;
const STEP = 50;
/** Rows that are wanted beyond the edges. */
const MARGIN = 100;
const NEAR = 30;
const WIDEST = 40;
const VIEW = 400;
const LONGEST = 500;

let grids = 0;

export class Grid {
  readonly node: HTMLElement;
  private readonly _head: HTMLElement;
  private readonly _space: HTMLElement;
  private readonly _layer: HTMLElement;
  private readonly _id = `nbr-grid-${grids++}`;
  private _base: Frame = NOTHING;
  private _window: Frame = NOTHING;
  private _total = 0;
  private _columns: readonly string[] = [];
  private _types: readonly string[] = [];
  private _classes: string[] = [];
  private _widths: number[] = [];
  private _active: { row: number; column: number } | null = null;
  /** Where a key or the wheel has put it: more exact than what the bar can say. */
  private _put: { scroll: number; top: number } | null = null;

  constructor(
    document: Document,
    private readonly _want: (offset: number, limit: number) => void,
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
    this.node.setAttribute('aria-readonly', 'true');
    // Jupyter has keys of its own, which would take the arrows away
    this.node.setAttribute('data-lm-suppress-shortcuts', 'true');
    const head = make(this.node, 'nbr-grid-head', 'rowgroup');
    this._head = make(head, 'nbr-grid-row', 'row');
    this._head.setAttribute('aria-rowindex', '1');
    this._space = make(this.node, 'nbr-grid-space', 'none');
    this._layer = make(this._space, 'nbr-grid-layer', 'rowgroup');
    this.node.addEventListener('scroll', () => this._paint(), { passive: true });
    this.node.addEventListener('wheel', event => this._wheel(event), { passive: false });
    this.node.addEventListener('keydown', event => this._key(event));
    this.node.addEventListener('mousedown', event => this._press(event));
  }

  /** Show a result: its first rows, and the window of it that is here. */
  update(name: string, base: Frame, window: Frame | null): void {
    this._base = base;
    this._window = window ?? NOTHING;
    const newest = window ?? base;
    this._total = newest.total;
    this.node.setAttribute('aria-label', name);
    this.node.setAttribute('aria-rowcount', String(this._total + 1));
    this.node.setAttribute('aria-colcount', String(newest.columns.length));
    this._setColumns(newest.columns, newest.types);
    this._fit(newest.rows);
    this._paint();
  }

  // ---- where it is ----

  private get _view(): number {
    return Math.max((this.node.clientHeight || VIEW) - ROW, ROW);
  }

  private get _height(): number {
    return Math.min(this._total * ROW, TALLEST);
  }

  private get _scaled(): boolean {
    return this._total * ROW > TALLEST;
  }

  /** The first row in sight; its fraction is above the edge. */
  private get _top(): number {
    const scroll = this.node.scrollTop;
    if (!this._scaled) {
      return scroll / ROW;
    }
    if (this._put !== null && Math.abs(this._put.scroll - scroll) < 1) {
      return this._put.top;
    }
    return (scroll / (this._height - this._view)) * this._last;
  }

  /** The largest value of `_top`. */
  private get _last(): number {
    return Math.max(0, this._total - this._view / ROW);
  }

  private set _top(top: number) {
    const bounded = Math.min(Math.max(top, 0), this._last);
    this.node.scrollTop = this._scaled ? (bounded / this._last) * (this._height - this._view) : bounded * ROW;
    this._put = { scroll: this.node.scrollTop, top: bounded };
    this._paint();
  }

  // ---- painting ----

  private _setColumns(columns: readonly string[], types: readonly string[]): void {
    if (same(columns, this._columns) && same(types, this._types)) {
      return;
    }
    this._columns = columns;
    this._types = types;
    this._classes = columns.map((name, i) => columnClass(name, types[i] ?? ''));
    this._widths = columns.map((name, i) => Math.min(name.length + (types[i] ?? '').length + 2, WIDEST));
    this._active = null;
    const document = this.node.ownerDocument;
    this._head.replaceChildren(
      ...columns.map((name, i) => {
        const cell = document.createElement('div');
        cell.className = this._classes[i]!;
        cell.setAttribute('role', 'columnheader');
        cell.setAttribute('aria-colindex', String(i + 1));
        cell.textContent = visible(name.slice(0, LONGEST));
        const type = document.createElement('span');
        type.className = 'nbr-type';
        type.textContent = shortType(types[i] ?? '');
        cell.append(' ', type);
        cell.title = `${name} ${types[i] ?? ''}`;
        return cell;
      }),
    );
    this._layer.replaceChildren();
    this._setWidths();
  }

  /** Columns grow as wider values come, and never shrink while somebody reads. */
  private _fit(rows: Frame['rows']): void {
    let grown = false;
    for (const row of rows.slice(0, LIMIT)) {
      for (let i = 0; i < this._widths.length; i++) {
        const width = Math.min(sqlText(row[i], this._types[i]!).length + 1, WIDEST);
        if (width > this._widths[i]!) {
          this._widths[i] = width;
          grown = true;
        }
      }
    }
    if (grown) {
      this._setWidths();
    }
  }

  private _setWidths(): void {
    this.node.style.setProperty(
      '--nbr-columns',
      this._widths.map(width => `calc(${width}ch + 22px)`).join(' '),
    );
    this.node.style.setProperty('--nbr-width', `calc(${this._widths.reduce((a, b) => a + b, 0)}ch + ${22 * this._widths.length}px)`);
  }

  private _row(at: number): readonly unknown[] | undefined {
    const { offset, rows } = this._window;
    return rows[at - offset] ?? this._base.rows[at - this._base.offset];
  }

  private _paint(): void {
    const height = `${this._height}px`;
    if (this._space.style.height !== height) {
      this._space.style.height = height;
    }
    const top = Math.min(this._top, this._last);
    const end = Math.min(this._total, Math.ceil(top + this._view / ROW) + BESIDE);
    const first = Math.max(0, Math.min(Math.floor(top) - BESIDE, end));
    const shift = this._scaled ? this.node.scrollTop - (top - first) * ROW : first * ROW;
    this._layer.style.transform = `translateY(${Math.round(shift)}px)`;
    this._resize(end - first);
    let awaited = false;
    for (let at = first; at < end; at++) {
      awaited = !this._paintRow(this._layer.children[at - first] as HTMLElement, at) || awaited;
    }
    this.node.setAttribute('aria-busy', String(awaited));
    this._paintActive(first, end);
    this._wish(Math.max(0, Math.floor(top)), Math.min(this._total, Math.ceil(top + this._view / ROW)));
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
      this._columns.forEach((_, i) => {
        const cell = document.createElement('div');
        cell.setAttribute('role', 'gridcell');
        cell.setAttribute('aria-colindex', String(i + 1));
        row.append(cell);
      });
      this._layer.append(row);
    }
  }

  /** Paint one row; false if it is not here, and what stood in its place is shown meanwhile. */
  private _paintRow(node: HTMLElement, at: number): boolean {
    const row = this._row(at);
    node.setAttribute('aria-rowindex', String(at + 2));
    node.classList.toggle('nbr-odd', at % 2 === 1);
    node.classList.toggle('nbr-awaited', row === undefined);
    if (row === undefined) {
      return false;
    }
    for (let i = 0; i < this._columns.length; i++) {
      const cell = node.children[i] as HTMLElement;
      const text = sqlText(row[i], this._types[i]!);
      const name = row[i] === null ? `${this._classes[i]} nbr-null`.trim() : this._classes[i]!;
      if (cell.className !== name) {
        cell.className = name;
      }
      if (cell.textContent !== text) {
        cell.textContent = text.slice(0, LONGEST);
        cell.title = text.length > this._widths[i]! ? text : '';
      }
    }
    return true;
  }

  /** Say which rows should be here, in steps, so that who scrolls a little asks for nothing. */
  private _wish(from: number, to: number): void {
    const whole = this._base.offset === 0 && this._base.rows.length >= this._total;
    if (whole || this._total === 0) {
      return;
    }
    const { offset, rows } = this._window;
    const before = offset === 0 || from - offset >= NEAR;
    const after = offset + rows.length >= this._total || offset + rows.length - to >= NEAR;
    if (this._window !== NOTHING && offset <= from && before && after && rows.length > 0) {
      return;
    }
    this._want(Math.max(0, Math.floor((from - MARGIN) / STEP) * STEP), LIMIT);
  }

  // ---- keys, wheel, mouse ----

  private _paintActive(first: number, end: number): void {
    this._layer.querySelector('.nbr-active')?.classList.remove('nbr-active');
    this._layer.querySelector(`#${this._id}`)?.removeAttribute('id');
    const active = this._active;
    const cell =
      active !== null && active.row >= first && active.row < end
        ? this._layer.children[active.row - first]?.children[active.column]
        : undefined;
    if (cell === undefined) {
      this.node.removeAttribute('aria-activedescendant');
      return;
    }
    cell.id = this._id;
    cell.classList.add('nbr-active');
    this.node.setAttribute('aria-activedescendant', this._id);
  }

  private _press(event: MouseEvent): void {
    const cell = (event.target as Element).closest('[role=gridcell]');
    const row = Number(cell?.parentElement?.getAttribute('aria-rowindex')) - 2;
    if (cell && row >= 0) {
      this._active = { row, column: Number(cell.getAttribute('aria-colindex')) - 1 };
      this._paint();
    }
  }

  private _key(event: KeyboardEvent): void {
    if (event.altKey || event.metaKey || this._total === 0 || this._columns.length === 0) {
      return;
    }
    const page = Math.max(1, Math.floor(this._view / ROW) - 1);
    const columns = this._columns.length;
    let { row, column } = this._active ?? { row: Math.ceil(this._top), column: 0 };
    switch (event.key) {
      case 'ArrowDown':
        row += this._active === null ? 0 : 1;
        break;
      case 'ArrowUp':
        row -= 1;
        break;
      case 'ArrowLeft':
        column -= 1;
        break;
      case 'ArrowRight':
        column += this._active === null ? 0 : 1;
        break;
      case 'PageDown':
        row += page;
        break;
      case 'PageUp':
        row -= page;
        break;
      case 'Home':
        [row, column] = event.ctrlKey ? [0, 0] : [row, 0];
        break;
      case 'End':
        [row, column] = event.ctrlKey ? [this._total - 1, columns - 1] : [row, columns - 1];
        break;
      default:
        return;
    }
    event.preventDefault();
    this._active = { row: bound(row, this._total), column: bound(column, columns) };
    this._reveal(this._active.row, this._active.column);
  }

  /** Scroll as far as it takes to see a cell. */
  private _reveal(row: number, column: number): void {
    const shown = this._view / ROW;
    const top = this._top;
    this._top = row < top ? row : row > top + shown - 1 ? row - shown + 1 : top;
    const cell = this._head.children[column] as HTMLElement | undefined;
    if (cell) {
      const { scrollLeft, clientWidth } = this.node;
      if (cell.offsetLeft < scrollLeft) {
        this.node.scrollLeft = cell.offsetLeft;
      } else if (cell.offsetLeft + cell.offsetWidth > scrollLeft + clientWidth) {
        this.node.scrollLeft = cell.offsetLeft + cell.offsetWidth - clientWidth;
      }
    }
  }

  private _wheel(event: WheelEvent): void {
    if (!this._scaled || event.ctrlKey || event.deltaY === 0) {
      return;
    }
    const rows = event.deltaMode === 0 ? event.deltaY / ROW : event.deltaMode === 1 ? event.deltaY : event.deltaY * 10;
    const before = this._top;
    const next = Math.min(Math.max(before + rows, 0), this._last);
    if (next !== before) {
      event.preventDefault(); // at the ends the page scrolls on
      this._top = next;
    }
  }
}

const NOTHING: Frame = { columns: [], types: [], rows: [], offset: 0, total: 0 };

function bound(value: number, count: number): number {
  return Math.min(Math.max(value, 0), count - 1);
}

function same(one: readonly string[], other: readonly string[]): boolean {
  return one.length === other.length && one.every((item, i) => item === other[i]);
}

/** Types as people write them, and not a whole STRUCT. */
function shortType(type: string): string {
  const short = type.replace('TIMESTAMP WITH TIME ZONE', 'TIMESTAMPTZ');
  return short.length > 16 ? `${short.slice(0, 15)}…` : short;
}
