import { expect, test, vi } from 'vitest';
import { Feed, type FeedState } from '../../src/views/feed';
import widget, { readFeed } from '../../src/widgets/infinite_list';
import { FakeModel } from '../fakes';

const item = (n: number) => ({ key: `k${n}`, title: `Post ${n}`, text: `text ${n}`, note: '' });
const state = (more: Partial<FeedState>): FeedState => ({
  label: 'Posts',
  items: [item(1), item(2)],
  status: 'CanLoadMore',
  state: 'live',
  message: '',
  height: 300,
  ...more,
});

function show() {
  const load = vi.fn();
  let seen: () => void = () => undefined;
  const feed = new Feed(document, load, (_node, _root, now) => {
    seen = now;
    return () => (seen = () => undefined);
  });
  document.body.replaceChildren(feed.node);
  const texts = () => [...feed.node.querySelectorAll('.nbr-feed-item-title')].map(node => node.textContent);
  return { feed, load, texts, see: () => seen(), more: feed.node.querySelector('button')!, note: feed.node.querySelector('[role=status]')! };
}

test('more is loaded when the end comes into sight, once until it is there', () => {
  const { feed, load, see, more } = show();
  feed.update(state({}));
  see();
  see();
  expect(load).toHaveBeenCalledTimes(1);
  feed.update(state({ status: 'LoadingMore' }));
  expect(more.textContent).toBe('Loading more…');
  see();
  expect(load).toHaveBeenCalledTimes(1);
  feed.update(state({ items: [item(1), item(2), item(3)] }));
  see();
  expect(load).toHaveBeenCalledTimes(2);
});

test('the keyboard can load more, and is not lost when there is no more', () => {
  const { feed, load, more, note } = show();
  feed.update(state({}));
  more.focus();
  more.click();
  expect(load).toHaveBeenCalledTimes(1);
  feed.update(state({ status: 'Exhausted' }));
  expect(more.hidden).toBe(true);
  expect(document.activeElement).toBe(feed.node.querySelector('[role=region]'));
  expect(note.textContent).toBe('2 items, that is all');
});

test('rows that stay are the same nodes, wherever others come and go', () => {
  const { feed, texts } = show();
  feed.update(state({}));
  const [first, second] = feed.node.querySelectorAll('li');
  feed.update(state({ items: [item(0), item(2), item(1)] }));
  expect(texts()).toEqual(['Post 0', 'Post 2', 'Post 1']);
  expect([...feed.node.querySelectorAll('li')].slice(1)).toEqual([second, first]);
  feed.update(state({ items: [{ ...item(2), title: '<b>new</b>' }] }));
  expect(texts()).toEqual(['<b>new</b>']);
  expect(feed.node.querySelector('b')).toBeNull();
  expect(feed.node.querySelector('li')).toBe(second);
});

test('how it stands is said', () => {
  const { feed, note } = show();
  const said = (more: Partial<FeedState>) => {
    feed.update(state(more));
    return note.textContent;
  };
  expect(said({ items: [], status: 'LoadingFirstPage' })).toBe('loading…');
  expect(said({ items: [], status: 'Exhausted' })).toBe('nothing here');
  expect(said({})).toBe('2 items, there are more');
  expect(said({ state: 'reconnecting' })).toBe('reconnecting');
  expect(said({ message: 'KeyError: x' })).toBe('KeyError: x');
});

test('the widget asks the kernel, and rows that are equal are two rows', () => {
  const model = new FakeModel({ state: { ...state({}), items: [{ key: 'a', text: 'x' }, { key: 'a', text: 'x' }, null] } });
  const stop = new AbortController();
  const el = document.createElement('div');
  widget().render({ model, el, signal: stop.signal } as never);
  expect(el.querySelectorAll('li')).toHaveLength(2);
  el.querySelector('button')!.click();
  expect(model.sent).toEqual([{ type: 'views', count: 1 }, { type: 'more' }]);
  stop.abort();
  expect(readFeed(null).items).toEqual([]);
});
