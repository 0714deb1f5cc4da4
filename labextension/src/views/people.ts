/**
 * A row of avatars: a pure painter. Names are what people call themselves, so they are painted as text, never as HTML;
 * a colour is taken only if it is one. Pictures are not shown: fetching them would tell their hosts who looks.
 */

export interface PersonShown {
  readonly user: string;
  readonly name: string;
  readonly initials: string;
  readonly color: string;
  readonly guest: boolean;
  /** In how many tabs, kernels or programs. */
  readonly sessions: number;
}

export interface PeopleState {
  readonly people: readonly PersonShown[];
  readonly room: string;
  readonly status: string;
  readonly message: string;
  /** How many avatars there are at most, before "+3". */
  readonly most: number;
  /** Who looks, where that is known. */
  readonly me: string;
}

const COLOR = /^#[0-9a-f]{6}$/i;
const LONGEST = 100;

export class PeopleBar {
  readonly node: HTMLElement;
  private readonly _list: HTMLUListElement;
  private readonly _note: HTMLElement;

  constructor(private readonly _document: Document) {
    this.node = _document.createElement('section');
    this.node.className = 'nbr-people';
    this._list = _document.createElement('ul');
    this._list.setAttribute('role', 'list'); // styles without bullets take the role away, in some browsers
    this._note = _document.createElement('span');
    this._note.className = 'nbr-people-note';
    this._note.setAttribute('role', 'status');
    this.node.append(this._list, this._note);
  }

  update(state: PeopleState): void {
    const { people, room, most, me } = state;
    const shown = people.length > most ? people.slice(0, Math.max(most, 1)) : people;
    const others = people.slice(shown.length);
    const items = shown.map(person => {
      const label = describe(person, me);
      return this._avatar(person.initials, label, COLOR.test(person.color) ? person.color : '');
    });
    if (others.length > 0) {
      const names = others.map(person => describe(person, me)).join(', ');
      items.push(this._avatar(`+${others.length}`, `${others.length} more: ${names}`, ''));
    }
    this._list.replaceChildren(...items);
    this._list.setAttribute('aria-label', `${count(people.length)} in ${room}`);
    const note = state.message || (state.status === 'live' ? (people.length === 0 ? 'nobody here' : '') : state.status);
    if (this._note.textContent !== note) {
      this._note.textContent = note;
    }
    this._note.hidden = note === '';
    this.node.dataset.status = state.status;
  }

  private _avatar(text: string, label: string, color: string): HTMLElement {
    const item = this._document.createElement('li');
    const face = this._document.createElement('span');
    face.className = 'nbr-avatar';
    face.textContent = text;
    face.title = label;
    face.tabIndex = 0; // so that a keyboard gets at its name
    face.setAttribute('role', 'img');
    face.setAttribute('aria-label', label);
    if (color) {
      face.style.backgroundColor = color;
    } else {
      face.classList.add('nbr-avatar-more');
    }
    item.append(face);
    return item;
  }
}

export function describe(person: PersonShown, me: string): string {
  const tabs = person.sessions > 1 ? ` (${person.sessions} tabs)` : '';
  return `${person.name}${person.user !== '' && person.user === me ? ' (you)' : ''}${tabs}`;
}

export function count(people: number): string {
  return people === 1 ? '1 person' : `${people} people`;
}

/** What a kernel has sent, as far as it is what it should be. */
export function readPeople(said: unknown): PersonShown[] {
  if (!Array.isArray(said)) {
    return [];
  }
  return said.filter(one => typeof one === 'object' && one !== null).map((one: Record<string, unknown>) => ({
    user: text(one.user),
    name: text(one.name) || 'Somebody',
    initials: text(one.initials).slice(0, 4) || '?',
    color: text(one.color),
    guest: one.guest === true,
    sessions: typeof one.sessions === 'number' ? one.sessions : 1,
  }));
}

function text(value: unknown): string {
  return typeof value === 'string' ? value.slice(0, LONGEST) : '';
}
