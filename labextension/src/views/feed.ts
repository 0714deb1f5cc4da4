/**
 * A list that loads more as one scrolls to its end: a pure painter of rows, each with a title, a text and a note.
 *
 * At the end stands a button, which the keyboard can press, too; when it comes into sight it presses itself.
 */

import { keepKeys } from './keys';

export interface Item {
  readonly key: string;
  readonly title: string;
  readonly text: string;
  readonly note: string;
}

export interface FeedState {
  readonly label: string;
  readonly items: readonly Item[];
  /** Of the paginated query: `LoadingFirstPage`, `CanLoadMore`, `LoadingMore`, `Exhausted`, `Error`. */
  readonly status: string;
  /** `live`, `reconnecting`, `closed`... */
  readonly state: string;
  readonly message: string;
  readonly height: number;
}

type Watch = (node: Element, root: Element, seen: () => void) => () => void;

const watchSight: Watch = (node, root, seen) => {
  if (typeof IntersectionObserver === 'undefined') {
    return () => undefined;
  }
  // a little before it is in sight, so that whoever scrolls on has no need to wait
  const observer = new IntersectionObserver(entries => entries.some(entry => entry.isIntersecting) && seen(), {
    root,
    rootMargin: '150px',
  });
  observer.observe(node);
  return () => observer.disconnect();
};

export class Feed {
  readonly node: HTMLElement;
  private readonly _scroll: HTMLElement;
  private readonly _list: HTMLUListElement;
  private readonly _more: HTMLButtonElement;
  private readonly _note: HTMLElement;
  private readonly _rows = new Map<string, { row: HTMLLIElement; item: Item }>();
  private _state: FeedState | null = null;
  private _unwatch: () => void = () => undefined;

  constructor(
    private readonly _document: Document,
    private readonly _loadMore: () => void,
    private readonly _watch: Watch = watchSight,
  ) {
    this.node = _document.createElement('section');
    this.node.className = 'nbr-feed';
    this._scroll = _document.createElement('div');
    this._scroll.className = 'nbr-feed-scroll';
    this._scroll.tabIndex = 0; // so that a keyboard can scroll it
    this._scroll.setAttribute('role', 'region');
    this._list = _document.createElement('ul');
    this._list.setAttribute('role', 'list');
    this._more = _document.createElement('button');
    this._more.type = 'button';
    this._more.className = 'nbr-feed-more';
    this._more.addEventListener('click', () => this._ask());
    this._note = _document.createElement('div');
    this._note.className = 'nbr-feed-note';
    this._note.setAttribute('role', 'status');
    this._scroll.append(this._list, this._more);
    this.node.append(this._scroll, this._note);
    keepKeys(this.node);
  }

  update(state: FeedState): void {
    const loaded = this._state?.status !== state.status || this._state.items.length !== state.items.length;
    this._state = state;
    this.node.dataset.status = state.state;
    this._scroll.style.maxHeight = `${state.height}px`;
    this._scroll.setAttribute('aria-label', state.label);
    this._scroll.setAttribute('aria-busy', String(state.status.startsWith('Loading')));
    this._paint(state.items);
    const more = state.status === 'CanLoadMore' || state.status === 'LoadingMore';
    if (!more && this._document.activeElement === this._more) {
      this._scroll.focus(); // the button goes; the keyboard stays here
    }
    this._more.hidden = !more;
    setText(this._more, state.status === 'LoadingMore' ? 'Loading more…' : 'Load more');
    this._more.setAttribute('aria-disabled', String(state.status !== 'CanLoadMore'));
    setText(this._note, describe(state));
    if (loaded) {
      // told anew whether it is in sight: a page may be shorter than the list is high
      this._unwatch();
      this._unwatch = state.status === 'CanLoadMore' ? this._watch(this._more, this._scroll, () => this._ask()) : () => undefined;
    }
  }

  dispose(): void {
    this._unwatch();
    this.node.remove();
  }

  private _ask(): void {
    if (this._state?.status === 'CanLoadMore' && this._more.getAttribute('aria-disabled') !== 'true') {
      this._more.setAttribute('aria-disabled', 'true'); // once, until there is an answer
      this._loadMore();
    }
  }

  /** Rows that are there already stay, with what is selected in them. */
  private _paint(items: readonly Item[]): void {
    const wanted = new Set(items.map(({ key }) => key));
    this._rows.forEach(({ row }, key) => {
      if (!wanted.has(key)) {
        row.remove();
        this._rows.delete(key);
      }
    });
    let next: Element | null = this._list.firstElementChild;
    for (const item of items) {
      const row = this._row(item);
      if (row === next) {
        next = next.nextElementSibling;
      } else {
        this._list.insertBefore(row, next);
      }
    }
  }

  private _row(item: Item): HTMLLIElement {
    const known = this._rows.get(item.key);
    if (known && JSON.stringify(known.item) === JSON.stringify(item)) {
      return known.row;
    }
    const row = known?.row ?? this._document.createElement('li');
    const parts = (['title', 'note', 'text'] as const).filter(name => item[name] !== '').map(name => {
      const part = this._document.createElement(name === 'note' ? 'span' : 'div');
      part.className = `nbr-feed-item-${name}`;
      part.textContent = item[name];
      return part;
    });
    row.replaceChildren(...parts);
    this._rows.set(item.key, { row, item });
    return row;
  }
}

function describe({ items, status, state, message }: FeedState): string {
  if (message !== '') {
    return message;
  }
  if (state === 'reconnecting' || state === 'closed') {
    return state;
  }
  const count = `${items.length.toLocaleString('en')} ${items.length === 1 ? 'item' : 'items'}`;
  switch (status) {
    case 'LoadingFirstPage':
      return 'loading…';
    case 'Exhausted':
      return items.length === 0 ? 'nothing here' : `${count}, that is all`;
    default:
      return `${count}, there are more`;
  }
}

function setText(node: HTMLElement, text: string): void {
  if (node.textContent !== text) {
    node.textContent = text;
  }
}
