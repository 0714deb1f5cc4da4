/**
 * The live table as an anywidget: the kernel's client sets traits, this paints them.
 *
 * The default export is a function, called once per model, so that each model counts its own views; the kernel hears
 * of the count, and lets go of a query that nobody looks at.
 */

import type { AnyModel, RenderProps } from '@anywidget/types';
import { readTable } from './payload';
import { readPlace } from './storage';
import { LiveTable, type LiveState, type More, type Status } from './table';
import { Thumbnails } from './thumbnails';

export interface LiveModel {
  table: unknown;
  status: Status;
  message: string;
  title: string;
  badge: string;
  dimmed: boolean;
  updated: number;
  more: string;
  /** Where stored files are. */
  files: unknown;
}

const TRAITS: (keyof LiveModel)[] = ['table', 'status', 'message', 'title', 'badge', 'dimmed', 'updated', 'more'];

export function readModel(model: Pick<AnyModel<LiveModel>, 'get'>): LiveState {
  return {
    table: readTable(model.get('table')),
    status: model.get('status'),
    message: model.get('message'),
    title: model.get('title'),
    badge: model.get('badge'),
    dimmed: model.get('dimmed'),
    updated: model.get('updated'),
    more: readMore(model.get('more')),
  };
}

function readMore(said: unknown): More {
  return said === 'more' || said === 'loading' ? said : '';
}

export default () => {
  let views = 0;

  function render({ model, el, signal }: RenderProps<LiveModel>): void {
    const thumbnails = new Thumbnails(el.ownerDocument, () => readPlace(model.get('files')));
    const view = new LiveTable(el.ownerDocument, () => model.send({ type: 'more' }), thumbnails);
    const paint = () => view.update(readModel(model));
    let waiting = false;
    // One message of the kernel may change several traits: paint once, when all of them are set.
    const later = () => {
      if (!waiting) {
        waiting = true;
        queueMicrotask(() => {
          waiting = false;
          if (!signal.aborted) {
            paint();
          }
        });
      }
    };
    paint();
    el.append(view.node);
    for (const trait of TRAITS) {
      model.on(`change:${trait}`, later);
    }
    model.send({ type: 'views', count: ++views });
    signal.addEventListener('abort', () => {
      for (const trait of TRAITS) {
        model.off(`change:${trait}`, later);
      }
      view.node.remove();
      thumbnails.dispose();
      model.send({ type: 'views', count: --views });
    });
  }

  return { render };
};
