/** `nbreactive.InfiniteList` as an anywidget: the kernel's client sends rows, and loads more when their end is in sight. */

import type { RenderProps } from '@anywidget/types';
import { isRecord } from '../records';
import { Feed, type FeedState, type Item } from '../views/feed';

export interface ListModel extends Record<string, unknown> {
  state: unknown;
}

const LONGEST = 2_000;

export function readFeed(said: unknown): FeedState {
  const state = isRecord(said) ? said : {};
  const items = Array.isArray(state.items) ? state.items.filter(isRecord) : [];
  const keys = new Set<string>();
  return {
    label: text(state.label),
    items: items.map((item): Item => {
      let key = text(item.key);
      while (keys.has(key)) {
        key += '+'; // rows without an id may be equal
      }
      keys.add(key);
      return { key, title: text(item.title), text: text(item.text), note: text(item.note) };
    }),
    status: text(state.status),
    state: text(state.state),
    message: text(state.message),
    height: typeof state.height === 'number' ? state.height : 400,
  };
}

function text(value: unknown): string {
  return typeof value === 'string' ? value.slice(0, LONGEST) : '';
}

export default () => {
  let views = 0;

  function render({ model, el, signal }: RenderProps<ListModel>): void {
    const feed = new Feed(el.ownerDocument, () => model.send({ type: 'more' }));
    const paint = () => feed.update(readFeed(model.get('state')));
    el.append(feed.node);
    paint();
    model.on('change:state', paint);
    model.send({ type: 'views', count: ++views });
    signal.addEventListener('abort', () => {
      model.off('change:state', paint);
      feed.dispose();
      model.send({ type: 'views', count: --views });
    });
  }

  return { render };
};
