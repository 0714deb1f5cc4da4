/** The menu of a column, and the list of all columns: everything that a mouse can do to them, by buttons. */

import { visible } from '../sql_values';
import type { Column, Layout } from './columns';
import { button, type Popup } from './popup';
import type { Sort } from './sorting';

export interface MenuHooks {
  sort(sort: Sort | null): void;
  filter(column: Column, text: string): void;
  move(column: Column, by: number): void;
  /** Make it wider (or narrower) by some pixels; null fits it to what it has. */
  widen(column: Column, by: number | null): void;
  hide(column: Column, hidden: boolean): void;
}

export function columnMenu(
  popup: Popup,
  anchor: Element,
  column: Column,
  state: { sort: Sort | null; condition: string; local: boolean },
  hooks: MenuHooks,
): void {
  popup.open(`Column ${column.name.slice(0, 100)}`, anchor, (box, close) => {
    const { name } = column;
    const act = (text: string, work: () => void) => button(box, text, () => (close(), work()));
    if (state.local) {
      const label = box.ownerDocument.createElement('label');
      label.textContent = 'Show where ';
      const input = box.ownerDocument.createElement('input');
      input.type = 'search';
      input.value = state.condition;
      input.placeholder = 'text, > 5, 1..9, empty';
      input.addEventListener('input', () => hooks.filter(column, input.value));
      input.addEventListener('keydown', event => {
        if (event.key === 'Enter') {
          close();
        }
      });
      label.append(input);
      box.append(label);
      act('Sort ascending', () => hooks.sort({ column: name, descending: false }));
      act('Sort descending', () => hooks.sort({ column: name, descending: true }));
      if (state.sort?.column === name) {
        act('Do not sort', () => hooks.sort(null));
      }
    }
    act('Move left', () => hooks.move(column, -1));
    act('Move right', () => hooks.move(column, 1));
    button(box, 'Wider', () => hooks.widen(column, 40));
    button(box, 'Narrower', () => hooks.widen(column, -40));
    act('Fit width', () => hooks.widen(column, null));
    act('Hide', () => hooks.hide(column, true));
  });
}

export function columnChooser(
  popup: Popup,
  anchor: Element,
  columns: readonly Column[],
  layout: Layout,
  hooks: Pick<MenuHooks, 'hide'>,
): void {
  popup.open('Columns', anchor, box => {
    for (const column of layout.all(columns)) {
      const label = box.ownerDocument.createElement('label');
      const check = box.ownerDocument.createElement('input');
      check.type = 'checkbox';
      check.checked = !layout.hidden.has(column.name);
      check.addEventListener('change', () => hooks.hide(column, !check.checked));
      label.append(check, ` ${visible(column.name.slice(0, 100))}`);
      box.append(label);
    }
  });
}
