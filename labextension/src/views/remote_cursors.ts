/**
 * Where others are in a textarea: a copy of its text lies under it, out of sight, with a mark at every caret and selection.
 *
 * Names are what people call themselves, so they are text; a colour is taken only if it is one.
 */

import { isRecord } from '../records';

export interface Cursor {
  readonly key: string;
  readonly name: string;
  readonly color: string;
  readonly from: number;
  readonly to: number;
}

const COLOR = /^#[0-9a-f]{6}$/i;
const MOST = 50;

/** The cursors in a list of people, but for one's own session. */
export function readCursors(people: unknown, mine: string): Cursor[] {
  if (!Array.isArray(people)) {
    return [];
  }
  return people
    .filter(isRecord)
    .flatMap(person =>
      (Array.isArray(person.sessions) ? person.sessions : []).filter(isRecord).map(session => ({ person, session })),
    )
    .filter(({ session }) => session.id !== mine && isRecord(session.data) && Array.isArray(session.data.at))
    .slice(0, MOST)
    .map(({ person, session }) => {
      const [from, to] = ((session.data as { at: unknown[] }).at.map(Number) as [number, number]).map(n =>
        Number.isSafeInteger(n) && n >= 0 ? n : 0,
      );
      return {
        key: String(session.id),
        name: typeof person.name === 'string' ? person.name.slice(0, 100) : 'Somebody',
        color: typeof person.color === 'string' && COLOR.test(person.color) ? person.color : '#777777',
        from: Math.min(from!, to ?? from!),
        to: Math.max(from!, to ?? from!),
      };
    });
}

export class RemoteCursors {
  /** Lies exactly under the textarea. */
  readonly node: HTMLElement;

  constructor(private readonly _document: Document) {
    this.node = _document.createElement('div');
    this.node.className = 'nbr-editor-others';
    this.node.setAttribute('aria-hidden', 'true'); // who is where is said below the text
  }

  update(text: string, cursors: readonly Cursor[], top: number): void {
    const places = [...new Set(cursors.flatMap(({ from, to }) => [from, to].map(at => Math.min(at, text.length))))].sort(
      (one, other) => one - other,
    );
    const nodes: Node[] = [];
    let at = 0;
    const stretch = (end: number) => {
      const inside = cursors.find(({ from, to }) => from <= at && Math.min(to, text.length) >= end && from < to);
      const part = text.slice(at, end);
      if (part !== '') {
        if (inside === undefined) {
          nodes.push(this._document.createTextNode(part));
        } else {
          const mark = this._document.createElement('mark');
          mark.style.backgroundColor = `${inside.color}55`;
          mark.textContent = part;
          nodes.push(mark);
        }
      }
      at = end;
    };
    for (const place of places) {
      stretch(place);
      cursors.filter(({ to }) => Math.min(to, text.length) === place).forEach(cursor => nodes.push(this._caret(cursor)));
    }
    stretch(text.length);
    // a last empty line has its height only with something in it
    nodes.push(this._document.createTextNode('\u200b'));
    this.node.replaceChildren(...nodes);
    this.node.scrollTop = top;
  }

  private _caret({ name, color }: Cursor): HTMLElement {
    const caret = this._document.createElement('span');
    caret.className = 'nbr-editor-caret';
    caret.style.borderColor = color;
    const flag = this._document.createElement('span');
    flag.className = 'nbr-editor-flag';
    flag.style.backgroundColor = color;
    flag.textContent = name;
    caret.append(flag);
    return caret;
  }
}
