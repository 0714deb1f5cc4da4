/**
 * Who else has a notebook open, where jupyter-collaboration shares it: the awareness of its shared document.
 *
 * A widget does not know in which notebook it is shown, and the extension does not know the widgets. So a widget asks
 * with an event that bubbles up to its notebook's panel; where nobody answers there are no collaborators.
 */

import type { PersonShown } from './people';

export const ASK = 'nbreactive-collaborators';

export interface Asking {
  /** Called at once, and whenever somebody comes or goes. */
  readonly changed: (people: PersonShown[]) => void;
  /** Ends it. */
  readonly signal: AbortSignal;
}

/** The part of `Awareness` (of y-protocols) that is used here. */
export interface Awareness {
  getStates(): Map<number, Record<string, unknown>>;
  on(event: 'change', listener: () => void): void;
  off(event: 'change', listener: () => void): void;
}

/** Let widgets in the panel of a notebook know who has it open. */
export function answer(panel: HTMLElement, awareness: () => Awareness | null | undefined): void {
  panel.addEventListener(ASK, event => {
    event.stopPropagation();
    const { changed, signal } = (event as CustomEvent<Asking>).detail;
    const found = awareness();
    if (!found || signal.aborted) {
      return;
    }
    const tell = () => changed(readCollaborators(found.getStates()));
    found.on('change', tell);
    signal.addEventListener('abort', () => found.off('change', tell));
    tell();
  });
}

/** Ask from within a widget, once it is on the page. */
export function ask(el: HTMLElement, asking: Asking): void {
  if (asking.signal.aborted) {
    return;
  }
  if (!el.isConnected) {
    setTimeout(() => ask(el, asking), 100);
    return;
  }
  el.dispatchEvent(new CustomEvent<Asking>(ASK, { bubbles: true, composed: true, detail: asking }));
}

export function readCollaborators(states: Map<number, Record<string, unknown>>): PersonShown[] {
  const found = new Map<string, PersonShown>();
  for (const { user } of states.values()) {
    const said = (typeof user === 'object' && user !== null ? user : {}) as Record<string, unknown>;
    const name = text(said.display_name) || text(said.name) || text(said.username);
    if (name === '') {
      continue; // without collaboration the only state is empty
    }
    const key = text(said.username) || name;
    const known = found.get(key);
    const initials = text(said.initials) || name.slice(0, 1).toUpperCase();
    // Their colours are made for dark letters and light ones alike; ours stay out of it.
    const sessions = (known?.sessions ?? 0) + 1;
    found.set(key, { user: '', name, initials: initials.slice(0, 4), color: '', guest: false, sessions });
  }
  return [...found.values()];
}

/** People in the room, then those who only have the notebook open; who has the same name is the same one. */
export function together(people: readonly PersonShown[], collaborators: readonly PersonShown[]): PersonShown[] {
  const names = new Set(people.map(person => person.name));
  return [...people, ...collaborators.filter(person => !names.has(person.name))];
}

function text(value: unknown): string {
  return typeof value === 'string' ? value.trim().slice(0, 100) : '';
}
