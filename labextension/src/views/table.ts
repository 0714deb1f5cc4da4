/**
 * The live table: a pure painter, shared by the widget (with a kernel) and the MIME renderer (a saved output).
 *
 * What collaborators write arrives here, so everything is painted through `textContent`; no value is ever parsed
 * as HTML. Cells are reused between paints: what did not change is not touched, so a selection survives an update.
 */

import { cellText } from './cell_text';
import { Grid } from './grid';
import type { Thumbnails } from './thumbnails';
import type { Frame } from './windows';

export { cellText };

export type Status = 'loading' | 'live' | 'reconnecting' | 'error' | 'closed' | 'snapshot';

/** Whether there are more rows to load, and whether they are being loaded. */
export type More = '' | 'more' | 'loading';

export interface TableData {
  columns: readonly string[];
  rows: readonly (readonly unknown[])[];
  /** How many rows there are; `rows` may hold fewer. */
  total: number;
  /** The rows are the fields of one document. */
  document?: boolean;
}

export interface LiveState {
  table: TableData;
  status: Status;
  message: string;
  title: string;
  badge: string;
  dimmed: boolean;
  /** When the rows were last right, in ms since the epoch; 0 when unknown. */
  updated: number;
  more: More;
  /** A result of SQL, of which the first rows are here; it is shown as a grid in the place of `table`. */
  frame: Frame | null;
  /** The part of it that is looked at, where that is not among the first rows. */
  window: Frame | null;
}

export const EMPTY: LiveState = {
  table: { columns: [], rows: [], total: 0 },
  status: 'loading',
  message: '',
  title: '',
  badge: '',
  dimmed: false,
  updated: 0,
  more: '',
  frame: null,
  window: null,
};

/** Texts of more characters or lines get a box of a few lines: one cell must not make its whole row high. */
const LONG = 200;
const LINES = 4;
/** Columns of the system, e.g. `_id`: there when they are looked for, quiet otherwise. */
const SYSTEM = /^_/;
/** Rows mostly come in a blink: only a longer wait is told of, or the words would flicker. */
const WAIT = 200;

export class LiveTable {
  readonly node: HTMLElement;
  private readonly _state: HTMLElement;
  private readonly _title: HTMLElement;
  private readonly _badge: HTMLElement;
  private readonly _count: HTMLElement;
  private readonly _message: HTMLElement;
  private readonly _scroll: HTMLElement;
  private readonly _caption: HTMLElement;
  private readonly _head: HTMLTableRowElement;
  private readonly _body: HTMLTableSectionElement;
  private readonly _empty: HTMLElement;
  private readonly _more: HTMLButtonElement;
  private _waiting: ReturnType<typeof setTimeout> | undefined;
  private _grid: Grid | null = null;

  constructor(
    document: Document,
    loadMore: () => void = () => undefined,
    private readonly _thumbnails: Thumbnails | null = null,
    private readonly _want: (offset: number, limit: number) => void = () => undefined,
  ) {
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
    this._message = make('div', this.node, 'nbr-message');
    this._message.setAttribute('role', 'alert');
    this._scroll = make('div', this.node, 'nbr-scroll');
    this._scroll.tabIndex = 0; // so that a keyboard can scroll it
    this._scroll.setAttribute('role', 'region');
    const table = make('table', this._scroll);
    this._caption = make('caption', table);
    this._head = make('tr', make('thead', table));
    this._body = make('tbody', table);
    this._empty = make('div', this._scroll, 'nbr-empty');
    this._more = make('button', this.node, 'nbr-more');
    this._more.type = 'button';
    this._more.addEventListener('click', () => {
      if (this._more.getAttribute('aria-disabled') !== 'true') {
        loadMore();
      }
    });
    this.update(EMPTY);
  }

  update(state: LiveState): void {
    const { table, status } = state;
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
    setText(this._count, state.frame ? describeFrame(state.window ?? state.frame) : describeCount(table));
    this._scroll.hidden = state.frame !== null;
    if (state.frame !== null) {
      this._paintGrid(name, state.frame, state.window);
      return;
    }
    this._grid?.node.remove();
    this._grid = null;
    setText(this._caption, name);
    this._scroll.setAttribute('aria-label', name);
    this._scroll.setAttribute('aria-busy', String(state.dimmed || status === 'loading'));
    const kinds = table.columns.map((name, i) => columnKind(name, table.rows, i));
    this._paintHead(table.columns, kinds);
    this._paintBody(table, kinds);
    this._paintMore(state.more);
    setOptional(this._empty, table.rows.length === 0 ? (status === 'loading' ? 'loading…' : 'no rows') : '');
  }

  private _paintGrid(name: string, frame: Frame, window: Frame | null): void {
    if (this._grid === null) {
      this._grid = new Grid(this.node.ownerDocument, this._want);
      this._scroll.after(this._grid.node);
    }
    this._more.hidden = true;
    this._grid.update(name, frame, window);
  }

  private _paintState({ status, dimmed, updated }: LiveState): void {
    this.node.dataset.status = status;
    this.node.classList.toggle('nbr-dimmed', dimmed);
    setText(this._state, describeStatus(status, updated));
    this._state.title = updated > 0 ? `last update ${new Date(updated).toLocaleString()}` : '';
  }

  /** The button stays in the order of tabs while rows are loaded, so that a keyboard can go on where it was. */
  private _paintMore(more: More): void {
    if (more === '' && this.node.ownerDocument.activeElement === this._more) {
      this._scroll.focus();
    }
    setOptional(this._more, more === '' ? '' : more === 'loading' ? 'Loading…' : 'Load more');
    this._more.setAttribute('aria-disabled', String(more === 'loading'));
  }

  private _paintHead(columns: readonly string[], kinds: readonly string[]): void {
    resize(this._head, columns.length, () => {
      const cell = this.node.ownerDocument.createElement('th');
      cell.scope = 'col';
      return cell;
    });
    columns.forEach((name, i) => {
      const cell = this._head.children[i] as HTMLElement;
      setText(cell, name);
      setClass(cell, kinds[i]!);
    });
  }

  private _paintBody({ columns, rows }: TableData, kinds: readonly string[]): void {
    const document = this.node.ownerDocument;
    resize(this._body, rows.length, () => document.createElement('tr'));
    rows.forEach((row, r) => {
      const tr = this._body.children[r] as HTMLElement;
      resize(tr, columns.length, () => document.createElement('td'));
      for (let c = 0; c < columns.length; c++) {
        const cell = tr.children[c] as HTMLElement;
        if (!this._thumbnails?.paint(cell, row[c])) {
          paintCell(cell, row[c], kinds[c]!);
        }
      }
    });
  }
}

/** How a column is set: numbers to the right, what the system adds in a quiet colour. */
function columnKind(name: string, rows: TableData['rows'], at: number): string {
  if (SYSTEM.test(name)) {
    return 'nbr-system';
  }
  const given = rows.some(row => typeof row[at] === 'number');
  return given && rows.every(row => typeof row[at] === 'number' || row[at] == null) ? 'nbr-number' : '';
}

/** Paint one value: as text, whatever it is. */
function paintCell(cell: HTMLElement, value: unknown, column: string): void {
  const text = cellText(value);
  const kind = value === null ? 'nbr-null' : typeof value === 'number' ? 'nbr-number' : '';
  setClass(cell, column && column !== kind ? `${column} ${kind}`.trim() : kind);
  if (cell.textContent !== text) {
    if (text.length > LONG || text.split('\n', LINES + 1).length > LINES) {
      const clip = cell.ownerDocument.createElement('div');
      clip.className = 'nbr-clip';
      clip.textContent = text;
      cell.replaceChildren(clip);
    } else {
      cell.textContent = text;
    }
  }
  // The whole of it on hovering, where less is shown.
  const whole = typeof value === 'number' ? String(value) : text;
  const title = whole !== text || column === 'nbr-system' || text.length > 60 ? whole : '';
  if (cell.title !== title) {
    cell.title = title;
  }
}

export function describeCount({ rows, total, document }: TableData): string {
  if (document) {
    return '1 document';
  }
  const count = (n: number) => `${n.toLocaleString('en')} ${n === 1 ? 'row' : 'rows'}`;
  return total > rows.length
    ? `first ${rows.length.toLocaleString('en')} of ${count(total)}`
    : count(rows.length);
}

function describeFrame({ total, columns }: Frame): string {
  const count = (n: number, what: string) => `${n.toLocaleString('en')} ${n === 1 ? what : `${what}s`}`;
  return `${count(total, 'row')} × ${count(columns.length, 'column')}`;
}

export function describeStatus(status: Status, updated: number, now: number = Date.now()): string {
  const since = updated > 0 ? describeTime(updated, now) : '';
  switch (status) {
    case 'snapshot':
      return since ? `snapshot of ${since}` : 'snapshot';
    case 'reconnecting':
      return since ? `reconnecting, rows of ${since}` : 'reconnecting';
    case 'error':
      return since ? `error, rows of ${since}` : 'error';
    case 'closed':
      return since ? `closed, rows of ${since}` : 'closed';
    case 'loading':
      return since ? 'updating' : 'loading';
    default:
      return status;
  }
}

/** "12:03" today, else with its date. */
export function describeTime(ms: number, now: number): string {
  const when = new Date(ms);
  const pad = (n: number) => String(n).padStart(2, '0');
  const clock = `${pad(when.getHours())}:${pad(when.getMinutes())}`;
  const day = `${when.getFullYear()}-${pad(when.getMonth() + 1)}-${pad(when.getDate())}`;
  return when.toDateString() === new Date(now).toDateString() ? clock : `${day} ${clock}`;
}

function setText(node: HTMLElement, text: string): void {
  if (node.textContent !== text) {
    node.textContent = text;
  }
}

function setClass(node: HTMLElement, name: string): void {
  if (node.className !== name) {
    node.className = name;
  }
}

function setOptional(node: HTMLElement, text: string): void {
  setText(node, text);
  node.hidden = text === '';
}

function resize(parent: HTMLElement, count: number, make: () => HTMLElement): void {
  while (parent.children.length > count) {
    parent.lastElementChild!.remove();
  }
  while (parent.children.length < count) {
    parent.append(make());
  }
}
