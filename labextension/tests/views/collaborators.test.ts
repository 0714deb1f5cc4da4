import { expect, test, vi } from 'vitest';
import { answer, ask, readCollaborators, together, type Awareness } from '../../src/views/collaborators';

const user = (username: string, name: string, more: object = {}) => ({ user: { username, name, display_name: name, ...more } });

class FakeAwareness implements Awareness {
  states = new Map<number, Record<string, unknown>>();
  listeners = new Set<() => void>();
  getStates() {
    return this.states;
  }
  on(_: 'change', listener: () => void) {
    this.listeners.add(listener);
  }
  off(_: 'change', listener: () => void) {
    this.listeners.delete(listener);
  }
  set(id: number, state: Record<string, unknown>) {
    this.states.set(id, state);
    this.listeners.forEach(listener => listener());
  }
}

test('everybody is there once, with whatever they are called; states without a person are nobody', () => {
  const states = new Map<number, Record<string, unknown>>([
    [1, {}],
    [2, { user: null }],
    [3, user('ada', 'Ada', { initials: 'AL', color: 'var(--jp-collaborator-color1)' })],
    [4, user('ada', 'Ada')],
    [5, { user: { username: 'grace' } }],
    [6, { user: { name: 7 } }],
  ]);
  expect(readCollaborators(states).map(one => [one.name, one.initials, one.color, one.sessions])).toEqual([
    ['Ada', 'A', '', 2],
    ['grace', 'G', '', 1],
  ]);
});

test('who is in the room is not shown a second time', () => {
  const [ada, grace] = readCollaborators(new Map([[1, user('a', 'Ada')], [2, user('g', 'Grace')]]));
  const inRoom = { ...ada!, user: 'x', color: '#112233' };
  expect(together([inRoom], [ada!, grace!])).toEqual([inRoom, grace]);
});

test('a widget hears of the notebook that it is in, until it ends', () => {
  const [panel, other] = [document.createElement('div'), document.createElement('div')];
  const el = panel.appendChild(document.createElement('p')).appendChild(document.createElement('b'));
  document.body.append(panel, other);
  const [mine, theirs] = [new FakeAwareness(), new FakeAwareness()];
  answer(panel, () => mine);
  answer(other, () => theirs);
  const stop = new AbortController();
  const heard: string[][] = [];
  ask(el, { changed: people => heard.push(people.map(person => person.name)), signal: stop.signal });
  mine.set(1, user('a', 'Ada'));
  theirs.set(1, user('b', 'Bob'));
  expect(heard).toEqual([[], ['Ada']]);
  stop.abort();
  expect([mine.listeners.size, theirs.listeners.size]).toEqual([0, 0]);
});

test('it asks when it is on the page, and not after its end', () => {
  vi.useFakeTimers();
  const panel = document.body.appendChild(document.createElement('div'));
  const answered = vi.fn(() => null);
  answer(panel, answered);
  const [early, gone] = [document.createElement('i'), document.createElement('i')];
  const [here, ended] = [new AbortController(), new AbortController()];
  ask(early, { changed: vi.fn(), signal: here.signal });
  ask(gone, { changed: vi.fn(), signal: ended.signal });
  ended.abort();
  panel.append(early, gone);
  vi.advanceTimersByTime(1000);
  expect(answered).toHaveBeenCalledOnce();
  vi.useRealTimers();
});
