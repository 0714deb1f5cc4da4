/**
 * The header of a grid: names to sort by, edges to draw columns wider, and columns that are dragged to other places.
 *
 * What a mouse does here, the menu of a column does too, which the keyboard opens.
 */

import { visible } from '../sql_values';
import { classOf, type Column } from './columns';
import type { Sort } from './sorting';

export interface HeaderHooks {
  sort(column: Column): void;
  menu(column: Column, cell: HTMLElement): void;
  /** A column is drawn to a width in pixels. */
  resize(column: Column, width: number): void;
  /** A column is fitted to what it has. */
  fit(column: Column): void;
  move(column: Column, to: Column): void;
  selectAll(): void;
}

export interface HeaderState {
  readonly sort: Sort | null;
  readonly conditions: ReadonlyMap<string, string>;
  /** Whether rows can be sorted and filtered here. */
  readonly local: boolean;
}

const LONGEST = 500;
/** Pixels that a mouse moves before it drags. */
const DRAG = 5;
const NARROWEST = 36;

export class Header {
  private _columns: readonly Column[] = [];
  private _dragged = false;

  constructor(
    private readonly _row: HTMLElement,
    private readonly _hooks: HeaderHooks,
  ) {}

  /** Make the cells anew, of other columns. */
  setColumns(columns: readonly Column[], selects: boolean): void {
    this._columns = columns;
    const cells = columns.map((column, i) => this._cell(column, i + (selects ? 2 : 1)));
    if (selects) {
      const lead = this._make('div', 'nbr-check');
      lead.setAttribute('role', 'columnheader');
      lead.setAttribute('aria-colindex', '1');
      lead.setAttribute('aria-label', 'Selected');
      lead.title = 'Select all rows';
      lead.addEventListener('click', () => this._hooks.selectAll());
      cells.unshift(lead);
    }
    this._row.replaceChildren(...cells);
  }

  /** How rows are sorted and filtered. */
  setState({ sort, conditions, local }: HeaderState): void {
    const cells = [...this._row.querySelectorAll<HTMLElement>('.nbr-column')];
    this._columns.forEach((column, i) => {
      const cell = cells[i]!;
      const direction = sort?.column !== column.name ? 'none' : sort.descending ? 'descending' : 'ascending';
      if (local) {
        cell.setAttribute('aria-sort', direction);
      } else {
        cell.removeAttribute('aria-sort');
      }
      const filter = conditions.get(column.name) ?? '';
      cell.classList.toggle('nbr-filtered', local && filter !== '');
      const said = [
        column.type ? `${column.name} ${column.type}` : column.name,
        filter && `shown where: ${filter}`,
        local ? '' : 'only some of the rows are here: sort and filter them in the statement',
      ];
      cell.title = said.filter(Boolean).join('\n').slice(0, LONGEST);
    });
  }

  private _cell(column: Column, index: number): HTMLElement {
    const cell = this._make('div', `nbr-column ${classOf(column)}`.trim());
    cell.setAttribute('role', 'columnheader');
    cell.setAttribute('aria-colindex', String(index));
    const label = this._make('span', 'nbr-name');
    label.textContent = visible(column.name.slice(0, LONGEST));
    cell.append(label);
    if (column.type) {
      const type = this._make('span', 'nbr-type');
      type.textContent = shortType(column.type);
      cell.append(' ', type);
    }
    const menu = this._make('button', 'nbr-menu') as HTMLButtonElement;
    menu.type = 'button';
    menu.tabIndex = -1; // the keyboard opens it from the header's cell
    menu.textContent = '⋮';
    menu.setAttribute('aria-label', `Menu of column ${column.name.slice(0, 100)}`);
    menu.addEventListener('click', () => this._hooks.menu(column, cell));
    const edge = this._make('span', 'nbr-edge');
    edge.setAttribute('aria-hidden', 'true');
    edge.addEventListener('pointerdown', event => this._resize(event, column, cell, edge));
    edge.addEventListener('dblclick', () => this._hooks.fit(column));
    cell.append(menu, edge);
    cell.addEventListener('pointerdown', event => this._drag(event, column, cell));
    cell.addEventListener('click', event => {
      if (!this._dragged && !(event.target as Element).closest('.nbr-menu, .nbr-edge')) {
        this._hooks.sort(column);
      }
    });
    cell.addEventListener('contextmenu', event => {
      event.preventDefault();
      event.stopPropagation(); // not Jupyter's menu of the cell
      this._hooks.menu(column, cell);
    });
    return cell;
  }

  private _resize(event: PointerEvent, column: Column, cell: HTMLElement, edge: HTMLElement): void {
    event.preventDefault();
    event.stopPropagation();
    const width = cell.getBoundingClientRect().width;
    const start = event.clientX;
    edge.setPointerCapture?.(event.pointerId);
    const move = (moved: PointerEvent) =>
      this._hooks.resize(column, Math.max(NARROWEST, Math.round(width + moved.clientX - start)));
    const end = () => {
      edge.removeEventListener('pointermove', move);
      edge.removeEventListener('pointerup', end);
      edge.removeEventListener('pointercancel', end);
    };
    edge.addEventListener('pointermove', move);
    edge.addEventListener('pointerup', end);
    edge.addEventListener('pointercancel', end);
  }

  /** Drag a column to the place of another one. */
  private _drag(event: PointerEvent, column: Column, cell: HTMLElement): void {
    this._dragged = false;
    if (event.button !== 0 || (event.target as Element).closest('.nbr-menu, .nbr-edge')) {
      return;
    }
    const start = event.clientX;
    let target: Column | null = null;
    cell.setPointerCapture?.(event.pointerId);
    const move = (moved: PointerEvent) => {
      this._dragged ||= Math.abs(moved.clientX - start) > DRAG;
      if (!this._dragged) {
        return;
      }
      cell.classList.add('nbr-dragged');
      target = null;
      [...this._row.querySelectorAll<HTMLElement>('.nbr-column')].forEach((other, i) => {
        const { left, right } = other.getBoundingClientRect();
        const over = other !== cell && moved.clientX >= left && moved.clientX < right;
        other.classList.toggle('nbr-drop', over);
        target = over ? this._columns[i]! : target;
      });
    };
    const end = (last: PointerEvent) => {
      cell.removeEventListener('pointermove', move);
      cell.removeEventListener('pointerup', end);
      cell.removeEventListener('pointercancel', end);
      cell.classList.remove('nbr-dragged');
      this._row.querySelectorAll('.nbr-drop').forEach(other => other.classList.remove('nbr-drop'));
      if (target !== null && last.type === 'pointerup') {
        this._hooks.move(column, target);
      }
    };
    cell.addEventListener('pointermove', move);
    cell.addEventListener('pointerup', end);
    cell.addEventListener('pointercancel', end);
  }

  private _make(tag: string, className: string): HTMLElement {
    const node = this._row.ownerDocument.createElement(tag);
    node.className = className;
    return node;
  }
}

/** Types as people write them, and not a whole STRUCT. */
function shortType(type: string): string {
  const short = type.replace('TIMESTAMP WITH TIME ZONE', 'TIMESTAMPTZ');
  return short.length > 16 ? `${short.slice(0, 15)}…` : short;
}
