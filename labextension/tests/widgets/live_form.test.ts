import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { offer } from '../../src/connection/page';
import widget from '../../src/widgets/live_form';
import { FakeBackend, FakeModel } from '../fakes';

const ARGS = {
  type: 'object',
  value: {
    survey: { fieldType: { type: 'string' }, optional: false },
    name: { fieldType: { type: 'string' }, optional: false },
  },
};

let model: FakeModel;
let stop: AbortController;

function show(mount: string): HTMLElement {
  model = new FakeModel({
    path: 'survey:answer',
    kind: 'mutation',
    args: ARGS,
    fixed: { survey: 's1' },
    options: { title: 'Answer', submit: 'Send' },
    place: { mount, url: '' },
  });
  stop = new AbortController();
  const el = document.createElement('div');
  document.body.append(el);
  widget().render({ model, el, signal: stop.signal } as never);
  el.querySelector<HTMLInputElement>('input')!.value = 'Ada';
  el.querySelector('form')!.dispatchEvent(new Event('submit', { cancelable: true }));
  return el;
}

const said = (el: HTMLElement) => el.querySelector('.nbr-form-said')!.textContent;

beforeEach(() => offer(undefined as never));
afterEach(() => document.body.replaceChildren());

test('below its own server the page calls, and the kernel hears of it', async () => {
  const backend = new FakeBackend();
  backend.answer = 'k1';
  offer({ backend: () => backend });
  const el = show('nbreactive');
  await vi.waitFor(() => expect(said(el)).toBe('Done: k1'));
  expect(backend.calls.map(({ path, args }) => ({ path, args }))).toEqual([
    { path: 'survey:answer', args: { survey: 's1', name: 'Ada' } },
  ]);
  expect(model.sent).toEqual([{ type: 'result', args: { name: 'Ada' }, value: 'k1' }]);
});

test('an error of the page is of another class than those of this module, and its data are heard all the same', async () => {
  const backend = new FakeBackend();
  backend.answer = Object.assign(new Error('taken'), { data: { field: 'name', message: 'is taken' } });
  offer({ backend: () => backend });
  const el = show('nbreactive');
  await vi.waitFor(() => expect(el.querySelector('.nbr-problem:not([hidden])')?.textContent).toBe('is taken'));
});

test('elsewhere the kernel calls, and answers', async () => {
  const el = show('');
  await vi.waitFor(() => expect(model.sent).toHaveLength(1));
  const [asked] = model.sent as { type: string; id: string; args: object }[];
  expect(asked).toMatchObject({ type: 'call', args: { name: 'Ada' } });
  model.say({ type: 'answer', id: 'of another page', value: 1 });
  expect(said(el)).toBe('Sending…');
  model.say({ type: 'answer', id: asked!.id, error: 'ArgumentError: args.name: is taken' });
  await vi.waitFor(() => expect(el.querySelector('.nbr-problem:not([hidden])')?.textContent).toBe('is taken'));
  stop.abort();
  expect(el.children).toHaveLength(0);
});
