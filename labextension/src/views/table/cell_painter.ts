/** One cell: its value as text, whatever it is; a link that a browser may follow; or the image of a stored file. */

import type { Thumbnails } from '../thumbnails';
import type { Column } from './columns';
import type { Edit } from './edits';
import { linkOf, textOf } from './formats';

export function paintValue(
  cell: HTMLElement,
  stored: unknown,
  column: Column,
  className: string,
  edit: Edit | undefined,
  thumbnails: Thumbnails | null,
): void {
  const pending = edit !== undefined && edit.state !== 'refused';
  const value = pending ? edit.value : stored;
  const name = [
    className,
    value === null && 'nbr-null',
    pending && 'nbr-pending',
    edit?.state === 'refused' && 'nbr-refused',
  ]
    .filter(Boolean)
    .join(' ');
  if (cell.className !== name) {
    cell.className = name;
  }
  if (thumbnails?.paint(cell, value)) {
    return;
  }
  const text = textOf(value, column);
  const link = linkOf(value);
  if (link !== null) {
    const known = cell.firstElementChild as HTMLAnchorElement | null;
    if (known?.tagName !== 'A' || known.textContent !== text) {
      cell.replaceChildren(anchor(cell.ownerDocument, link, text));
    }
  } else if (cell.textContent !== text || cell.firstElementChild !== null) {
    cell.textContent = text;
  } else {
    return;
  }
  if (cell.title) {
    cell.title = '';
  }
}

function anchor(document: Document, href: string, text: string): HTMLAnchorElement {
  const node = document.createElement('a');
  node.href = href;
  node.target = '_blank';
  node.rel = 'noopener noreferrer';
  node.tabIndex = -1; // Enter follows it from its cell
  node.textContent = text;
  return node;
}
