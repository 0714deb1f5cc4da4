/**
 * The avatars as an anywidget. The kernel sends who is there; the page joins as whoever looks at it, where it is one of
 * the Jupyter server behind which the backend is, and else asks the kernel to be in the room as long as it is shown.
 */

import type { AnyModel, RenderProps } from '@anywidget/types';
import { ask, together } from '../views/collaborators';
import { below, joinOnce } from '../connection/joining';
import { PeopleBar, readPeople, type PersonShown } from '../views/people';

export interface PresenceModel {
  people: unknown;
  room: string;
  status: string;
  message: string;
  most: number;
  /** Whether to join at all. */
  joins: boolean;
  /** Whether those are shown, too, who have the notebook open. */
  collaborators: boolean;
  /** What others see. */
  data: unknown;
  /** Where the backend is below the page's Jupyter server; empty if it is not. */
  sync: string;
}

const TRAITS: (keyof PresenceModel)[] = ['people', 'status', 'message', 'most'];

export default () => {
  let views = 0;
  let relayed = 0;
  let leave: (() => void) | null = null;
  let me = '';
  const painting = new Set<() => void>();

  /** One session for all places on this page that show the bar. */
  function enter(model: AnyModel<PresenceModel>, document: Document): void {
    const relay = () => {
      relayed = 1;
      tell(model);
    };
    const url = below(document, model.get('sync'));
    if (url === null) {
      relay();
      return;
    }
    leave = joinOnce({
      url,
      room: model.get('room'),
      data: model.get('data'),
      joined: user => {
        me = user;
        painting.forEach(paint => paint());
      },
      failed: relay,
    });
  }

  function tell(model: AnyModel<PresenceModel>): void {
    model.send({ type: 'views', count: views, relay: relayed > 0 && views > 0 });
  }

  function render({ model, el, signal }: RenderProps<PresenceModel>): void {
    const bar = new PeopleBar(el.ownerDocument);
    let collaborators: PersonShown[] = [];
    const paint = () =>
      bar.update({
        people: together(readPeople(model.get('people')), collaborators),
        room: model.get('room'),
        status: model.get('status'),
        message: model.get('message'),
        most: model.get('most'),
        me,
      });
    paint();
    painting.add(paint);
    el.append(bar.node);
    if (model.get('collaborators')) {
      const changed = (people: PersonShown[]) => {
        collaborators = people;
        paint();
      };
      ask(el, { changed, signal });
    }
    for (const trait of TRAITS) {
      model.on(`change:${trait}`, paint);
    }
    views += 1;
    if (views === 1 && model.get('joins')) {
      enter(model, el.ownerDocument);
    }
    tell(model);
    signal.addEventListener('abort', () => {
      for (const trait of TRAITS) {
        model.off(`change:${trait}`, paint);
      }
      painting.delete(paint);
      bar.node.remove();
      views -= 1;
      if (views === 0) {
        leave?.();
        leave = null;
        relayed = 0;
      }
      tell(model);
    });
  }

  return { render };
};
