/**
 * An editor of a text that several people write: a textarea, with the carets of others in it, how it stands below it, what is
 * to be decided where two have changed the same words, and the earlier versions.
 *
 * Whoever makes it is told what is typed and chosen; it knows nothing of connections.
 */

import { isRecord } from '../records';
import type { SyncState } from '../connection/text_sync';
import { keepKeys } from './keys';
import { readCursors, RemoteCursors, type Cursor } from './remote_cursors';
import { follow } from './text_merge';

export interface EditorActions {
  readonly typed: (text: string) => void;
  readonly composing: (yes: boolean) => void;
  readonly moved: (from: number, to: number) => void;
  readonly resolve: (mine: boolean) => void;
  readonly save: () => void;
  /** The list of earlier versions is opened, or closed. */
  readonly history: (open: boolean) => void;
}

export interface EditorOptions {
  readonly label: string;
  readonly rows: number;
  readonly hasHistory: boolean;
  /** Names of fields in earlier versions. */
  readonly field: string;
  readonly version: string;
  readonly author: string;
}

export interface Edit {
  readonly text: string;
  readonly title: string;
}

const SAID: Record<string, string> = {
  loading: 'loading…',
  saved: 'saved',
  unsaved: 'not saved yet',
  saving: 'saving…',
};
const MOST_EDITS = 200;
const PREVIEW = 160;
let editors = 0;

export class Editor {
  readonly node: HTMLElement;
  private readonly _area: HTMLTextAreaElement;
  private readonly _others: RemoteCursors;
  private readonly _state: HTMLElement;
  private readonly _people: HTMLElement;
  private readonly _retry: HTMLButtonElement;
  private readonly _conflict: HTMLElement;
  private readonly _theirs: HTMLElement;
  private readonly _edits: HTMLElement;
  private _cursors: readonly Cursor[] = [];
  private _painted = '';
  private _ready = false;

  constructor(
    private readonly _document: Document,
    private readonly _options: EditorOptions,
    private readonly _actions: EditorActions,
  ) {
    const id = `nbr-editor-${++editors}`;
    this.node = this._make('section', 'nbr-editor', null);
    keepKeys(this.node);
    const label = this._make('label', 'nbr-editor-label', this.node);
    label.htmlFor = id;
    label.textContent = _options.label;
    const stage = this._make('div', 'nbr-editor-stage', this.node);
    this._others = new RemoteCursors(_document);
    stage.append(this._others.node);
    const area = (this._area = this._make('textarea', 'nbr-editor-text', stage));
    area.id = id;
    area.rows = _options.rows;
    area.spellcheck = false;
    area.readOnly = true; // until the text is there
    const bar = this._make('div', 'nbr-editor-bar', this.node);
    this._state = this._make('span', 'nbr-editor-state', bar);
    this._state.setAttribute('role', 'status');
    this._retry = this._button('Try again', bar, () => _actions.save());
    this._retry.hidden = true;
    this._people = this._make('span', 'nbr-editor-people', bar);
    this._conflict = this._make('div', 'nbr-editor-conflict', this.node);
    this._conflict.setAttribute('role', 'group');
    this._conflict.setAttribute('aria-label', 'Two versions');
    this._conflict.hidden = true;
    const why = this._make('p', '', this._conflict);
    why.textContent = 'Somebody else has changed the same words. The text above is yours; this is what is stored:';
    this._theirs = this._make('pre', '', this._conflict);
    this._theirs.tabIndex = 0; // so that a keyboard can scroll it
    const choice = this._make('div', 'nbr-editor-choice', this._conflict);
    this._button('Keep mine', choice, () => this._resolve(true));
    this._button('Take theirs', choice, () => this._resolve(false));
    const details = this._make('details', 'nbr-editor-history', this.node);
    details.hidden = !_options.hasHistory;
    this._make('summary', '', details).textContent = 'History';
    this._edits = this._make('ol', '', details);
    this._edits.setAttribute('role', 'list');
    details.addEventListener('toggle', () => _actions.history(details.open));
    this._listen();
  }

  private _listen(): void {
    const area = this._area;
    const moved = () => this._actions.moved(area.selectionStart, area.selectionEnd);
    area.addEventListener('input', event => {
      if (!(event as InputEvent).isComposing) {
        this._actions.typed(area.value);
      }
      this._paintOthers();
      moved();
    });
    area.addEventListener('compositionstart', () => this._actions.composing(true));
    area.addEventListener('compositionend', () => {
      this._actions.typed(area.value);
      this._actions.composing(false);
    });
    area.addEventListener('scroll', () => (this._others.node.scrollTop = area.scrollTop));
    for (const event of ['keyup', 'pointerup', 'focus', 'select']) {
      area.addEventListener(event, moved);
    }
    area.addEventListener('keydown', event => {
      if ((event.ctrlKey || event.metaKey) && event.key === 's') {
        event.preventDefault();
        event.stopPropagation(); // not the notebook
        this._actions.save();
      }
    });
  }

  /** What the text is now: carets stay where they were in it. */
  show(text: string, from: string): void {
    const area = this._area;
    this._ready = true;
    area.readOnly = false;
    const [start, end] = [area.selectionStart, area.selectionEnd].map(at => follow(from, text, at));
    const top = area.scrollTop;
    area.value = text;
    area.setSelectionRange(start!, end!);
    area.scrollTop = top;
    this._paintOthers();
    if (this._document.activeElement === area) {
      this._actions.moved(start!, end!);
    }
  }

  state(state: SyncState): void {
    this.node.dataset.state = state.kind;
    const said = state.kind === 'failed' ? `not saved: ${state.message}` : (SAID[state.kind] ?? 'not saved: two versions');
    if (this._state.textContent !== said) {
      this._state.textContent = said;
    }
    if (state.kind === 'saved' && !this._ready) {
      this.show(this._area.value, ''); // an empty text
    }
    this._retry.hidden = state.kind !== 'failed';
    this._conflict.hidden = state.kind !== 'conflict';
    if (state.kind === 'conflict') {
      this._theirs.textContent = state.theirs;
    }
  }

  /** The connection, where there is something to say of it. */
  trouble(said: string): void {
    this.node.dataset.trouble = said === '' ? '' : 'yes';
    if (said !== '') {
      this._state.textContent = said;
    }
  }

  people(people: unknown, mine: string): void {
    this._cursors = readCursors(people, mine);
    const names = [...new Set(this._cursors.map(({ name }) => name))];
    const said = names.length === 0 ? '' : `also here: ${names.join(', ')}`;
    if (this._people.textContent !== said) {
      this._people.textContent = said;
    }
    this._paintOthers();
  }

  /** Earlier versions, newest first. */
  edits(listed: unknown): void {
    const edits = readEdits(listed, this._options);
    const rows = edits.map(edit => {
      const row = this._document.createElement('li');
      const head = this._make('div', 'nbr-editor-edit', row);
      this._make('span', '', head).textContent = edit.title;
      const restore = this._button('Restore', head, () => this._restore(edit.text));
      restore.setAttribute('aria-label', `Restore ${edit.title}`);
      const preview = this._make('div', 'nbr-editor-preview', row);
      preview.textContent = edit.text.length > PREVIEW ? `${edit.text.slice(0, PREVIEW)}…` : edit.text;
      return row;
    });
    if (rows.length === 0) {
      const row = this._document.createElement('li');
      row.textContent = 'no earlier versions';
      rows.push(row);
    }
    this._edits.replaceChildren(...rows);
  }

  private _restore(text: string): void {
    const from = this._area.value;
    this.show(text, from);
    this._actions.typed(text);
    this._actions.save();
    this._area.focus();
  }

  private _resolve(mine: boolean): void {
    this._area.focus();
    this._actions.resolve(mine);
  }

  /** Others stay at their words when the text changes, until they say where they are in the new one. */
  private _paintOthers(): void {
    const { value, scrollTop } = this._area;
    const before = this._painted;
    if (value !== before) {
      const moved = (at: number) => follow(before, value, at);
      this._cursors = this._cursors.map(cursor => ({ ...cursor, from: moved(cursor.from), to: moved(cursor.to) }));
      this._painted = value;
    }
    this._others.update(value, this._cursors, scrollTop);
  }

  private _button(text: string, parent: Element, pressed: () => void): HTMLButtonElement {
    const button = this._make('button', '', parent);
    button.type = 'button';
    button.textContent = text;
    button.addEventListener('click', pressed);
    return button;
  }

  private _make<Name extends keyof HTMLElementTagNameMap>(
    name: Name,
    className: string,
    parent: Element | null,
  ): HTMLElementTagNameMap[Name] {
    const node = this._document.createElement(name);
    if (className !== '') {
      node.className = className;
    }
    parent?.append(node);
    return node;
  }
}

/** What a function lists as earlier versions. */
export function readEdits(listed: unknown, { field, version, author }: EditorOptions): Edit[] {
  const rows = isRecord(listed) && Array.isArray(listed.page) ? listed.page : Array.isArray(listed) ? listed : [];
  return rows
    .slice(0, MOST_EDITS)
    .filter(isRecord)
    .filter(row => typeof row[field] === 'string')
    .map(row => {
      const time = [row.timestamp, row._creationTime].find(value => typeof value === 'number');
      const parts = [
        typeof row[version] === 'number' ? `version ${row[version]}` : '',
        typeof row[author] === 'string' ? (row[author] as string).slice(0, 100) : '',
        typeof time === 'number' ? new Date(time).toLocaleString() : '',
      ];
      return { text: row[field] as string, title: parts.filter(part => part !== '').join(' · ') || 'earlier' };
    });
}
