import { Panel, Widget } from '@lumino/widgets';
import { expect, test, vi } from 'vitest';
import { MIME_TYPE, WIDGET_MIME_TYPE } from '../../src/outputs/payload';
import { Policy } from '../../src/outputs/policy';
import { LiveOutput, PERSONAL, type Host } from '../../src/outputs/renderer';
import { FakeBackend } from '../fakes';

/** Stands for the renderer of widgets: it finds its model when `found` is called. */
class FakeView extends Panel {
  renderModel = vi.fn(async () => {});
  found() {
    const child = new Widget();
    this.addWidget(child);
    return child;
  }
}

class FakeHost implements Host {
  view: FakeView | null = new FakeView();
  trouble = '';
  listeners = new Set<() => void>();
  factory = {};
  widgetFactory = () => this.view && this.factory;
  createWidgetView = () => this.view as unknown as ReturnType<Host['createWidgetView']>;
  onMessage = () => () => {};
  tell = () => {};
  kernelId = () => 'k';
  ended = false;
  here = true;
  hasComm = async () => this.here;
  kernelEnded = () => this.ended;
  kernelTrouble = () => this.trouble;
  onKernelChange = (listener: () => void) => {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  };
}

const payload = { v: 1, title: 'messages', table: { columns: ['body'], rows: [['saved']], total: 1 }, renderedAt: 1 };

function model(data: Record<string, unknown>, trusted = false) {
  return { data, metadata: {}, trusted, setData: () => {} } as never;
}

const both = model({ [MIME_TYPE]: payload, [WIDGET_MIME_TYPE]: { model_id: 'm' } });
const snapshotShown = (output: LiveOutput) => !output.widgets[1]!.isHidden;

test('without a notebook around it, shows the saved rows and says that they are', async () => {
  const output = new LiveOutput(null);
  await output.renderModel(both);
  expect(output.node.querySelector('[role=gridcell]')?.textContent).toBe('saved');
  expect(output.node.querySelector('.nbr-state')?.textContent).toContain('snapshot of ');
});

test('the view of the kernel takes the place of the snapshot, and gives it back', async () => {
  const host = new FakeHost();
  const output = new LiveOutput(host);
  await output.renderModel(both);
  expect(snapshotShown(output)).toBe(true);
  const child = host.view!.found();
  await vi.waitFor(() => expect(snapshotShown(output)).toBe(false));
  expect(host.view!.isHidden).toBe(false);
  child.dispose();
  await vi.waitFor(() => expect(snapshotShown(output)).toBe(true));
  expect(host.view!.isHidden).toBe(true);
});

test('a kernel that stops is told of above its last rows', async () => {
  const host = new FakeHost();
  const output = new LiveOutput(host);
  await output.renderModel(both);
  host.view!.found();
  await vi.waitFor(() => expect(snapshotShown(output)).toBe(false));
  host.trouble = 'The kernel has stopped';
  host.listeners.forEach(listener => listener());
  const line = output.node.querySelector('.nbr-detached')!;
  expect(line.textContent).toBe('The kernel has stopped');
  expect(output.hasClass('nbr-mod-detached')).toBe(true);
  host.trouble = '';
  host.listeners.forEach(listener => listener());
  expect(output.hasClass('nbr-mod-detached')).toBe(false);

  // the kernel that comes back is a new one: it feeds nothing that was here before
  Object.assign(host, { ended: true, trouble: 'The kernel is restarting' });
  host.listeners.forEach(listener => listener());
  Object.assign(host, { ended: false, trouble: '' });
  host.listeners.forEach(listener => listener());
  expect(line.textContent).toBe('The kernel is restarting');
  expect(output.hasClass('nbr-mod-detached')).toBe(true);
});

test('no view is asked for when the output has none, or nothing renders widgets', async () => {
  const host = new FakeHost();
  await new LiveOutput(host).renderModel(model({ [MIME_TYPE]: payload }));
  expect(host.view!.renderModel).not.toHaveBeenCalled();
  host.view = null;
  const output = new LiveOutput(host);
  await output.renderModel(both);
  expect(snapshotShown(output)).toBe(true);
});

test('disposing stops listening', async () => {
  const host = new FakeHost();
  const output = new LiveOutput(host);
  await output.renderModel(both);
  expect(host.listeners.size).toBe(1);
  output.dispose();
  expect(host.listeners.size).toBe(0);
});

test('the payload of a newer version says what to do', async () => {
  const output = new LiveOutput(null);
  await output.renderModel(model({ [MIME_TYPE]: { v: 2 } }));
  expect(output.node.querySelector('[role=alert]')?.textContent).toContain('newer nbreactive');
});

test('a view that found no kernel is made again when widgets are rendered by something that knows it', async () => {
  const host = new FakeHost();
  const output = new LiveOutput(host);
  await output.renderModel(both);
  const first = host.view!;
  host.listeners.forEach(listener => listener());
  expect(first.isDisposed).toBe(false);
  host.view = new FakeView();
  host.factory = {};
  host.listeners.forEach(listener => listener());
  expect(first.isDisposed).toBe(true);
  expect(host.view.renderModel).toHaveBeenCalledWith(both);
  host.view.found();
  await vi.waitFor(() => expect(snapshotShown(output)).toBe(false));
  // a view that shows something stays
  host.factory = {};
  host.listeners.forEach(listener => listener());
  expect(host.view.isDisposed).toBe(false);
});

test('a kernel that does not know the view leaves the snapshot, and it is said', async () => {
  const host = new FakeHost();
  host.here = false;
  const output = new LiveOutput(host);
  await output.renderModel(both);
  host.view!.found(); // from a state that was saved in the notebook
  await vi.waitFor(() => expect(output.node.querySelector('.nbr-detached')?.textContent).toContain('no longer live'));
  expect(snapshotShown(output)).toBe(true);
  expect(output.hasClass('nbr-mod-detached')).toBe(false);
});

const HASH = '0123456789abcdef0123456789abcdef';
const statement = {
  v: 1,
  path: '_system/sql:live',
  args: { hash: HASH, params: { least: 5 } },
  place: { mount: 'nbreactive', url: '' },
  title: 'SELECT n',
  frame: { columns: [{ name: 'n', type: 'BIGINT' }], rows: [[1]], offset: 0, total: 1 },
  renderedAt: 1,
};

test('a saved result of SQL is live without a kernel, and leaves the asking to a kernel that shows it', async () => {
  const mounts: string[] = [];
  const backend = new FakeBackend();
  const host = new FakeHost();
  const output = new LiveOutput(host, undefined, mount => {
    mounts.push(mount);
    return backend;
  });
  await output.renderModel(model({ [MIME_TYPE]: statement, [WIDGET_MIME_TYPE]: { model_id: 'm' } }));
  expect(mounts).toEqual(['nbreactive']);
  const [asked] = backend.asked;
  expect(asked!.path).toBe('_system/sql:live');
  expect(asked!.args).toEqual({ hash: HASH, params: { least: 5 }, offset: 0, limit: 300 });
  const cell = () => output.node.querySelector('[role=gridcell]')?.textContent;
  const state = () => output.node.querySelector('.nbr-state')?.textContent;
  expect(cell()).toBe('1');
  expect(state()).toContain('snapshot');
  asked!.hearing.value({ columns: [{ name: 'n', type: 'BIGINT' }], rows: [[2]], total: 1, offset: 0, complete: true });
  asked!.hearing.linked(true);
  await vi.waitFor(() => expect(state()).toBe('live'));
  expect(cell()).toBe('2');
  asked!.hearing.linked(false);
  await vi.waitFor(() => expect(state()).toContain('reconnecting'));
  host.view!.found();
  await vi.waitFor(() => expect(snapshotShown(output)).toBe(false));
  expect(asked!.stopped).toBe(true);
});

test('an output that names another host, or a statement by its text, asks for nothing', async () => {
  for (const more of [
    { place: { mount: '../evil', url: 'http://evil' } },
    { args: { sql: 'SELECT 1', params: {} } },
    { path: '_system/tables:delete' },
  ]) {
    const backend = new FakeBackend();
    const output = new LiveOutput(null, undefined, () => backend);
    await output.renderModel(model({ [MIME_TYPE]: { ...statement, ...more } }));
    expect(backend.asked).toEqual([]);
    expect(output.node.querySelector('[role=gridcell]')?.textContent).toBe('1');
  }
});

const query = {
  v: 1,
  path: 'chat:list',
  args: { limit: 2 },
  place: { mount: 'nbreactive/default', url: '' },
  title: 'api.chat.list',
  columns: ['body', 'author'],
  kinds: { body: 'text' },
  table: { columns: ['body'], rows: [['saved']], total: 1 },
  renderedAt: 1,
};

function live(payload: object, policy = new Policy('always'), trusted = false) {
  const backend = new FakeBackend();
  const output = new LiveOutput(null, policy, () => backend);
  void output.renderModel(model({ [MIME_TYPE]: payload }, trusted));
  const texts = (selector: string) => [...output.node.querySelectorAll(selector)].map(node => node.textContent);
  return { backend, output, texts, state: () => texts('.nbr-state')[0], message: () => texts('.nbr-message')[0] };
}

test('a saved result of a function shows what was saved at once, and then follows the function', async () => {
  const { backend, output, texts, state } = live(query);
  expect(texts('[role=gridcell]')).toEqual(['saved']);
  expect(state()).toContain('snapshot');
  const [asked] = backend.asked;
  expect([asked!.path, asked!.args]).toEqual(['chat:list', { limit: 2 }]);
  asked!.hearing.linked(true);
  asked!.hearing.value([{ author: 'Ada', body: 'hi', _id: 'x' }]);
  await vi.waitFor(() => expect(state()).toBe('live'));
  expect(texts('[role=columnheader]')).toEqual(['body', 'author', '_id'].map(name => expect.stringContaining(name)));
  expect(texts('[role=gridcell]')).toEqual(['hi', 'Ada', 'x']);
  asked!.hearing.failed("Could not find public function for 'chat:list'. Did you forget to deploy it?");
  await vi.waitFor(() => expect(state()).toContain('gone, rows of '));
  expect(texts('[role=gridcell]')).toEqual(['hi', 'Ada', 'x']);
  output.dispose();
  expect(asked!.stopped).toBe(true);
  expect(backend.calls).toEqual([]);
});

test('whoever is signed out is told, and so is what comes back', async () => {
  const { backend, texts, state, message } = live(query);
  const { hearing } = backend.asked[0]!;
  hearing.linked(false, 'signed out');
  await vi.waitFor(() => expect(state()).toContain('signed out, rows of '));
  expect(message()).toContain('sign in');
  expect(texts('[role=gridcell]')).toEqual(['saved']);
  hearing.linked(false, 'not here');
  await vi.waitFor(() => expect(message()).toContain('nbreactive/default'));
  hearing.linked(true);
  hearing.value([]);
  await vi.waitFor(() => expect(state()).toBe('live'));
  expect(message()).toBe('');
});

test('a paginated query is followed page by page', async () => {
  const { backend, output, texts } = live({ ...query, pageSize: 1 });
  expect(backend.asked[0]!.args).toMatchObject({ limit: 2, paginationOpts: { numItems: 1, cursor: null } });
  backend.asked[0]!.hearing.value({ page: [{ body: 'one' }], isDone: false, continueCursor: 'c' });
  const button = output.node.querySelector<HTMLButtonElement>('button.nbr-more')!;
  await vi.waitFor(() => expect(button.textContent).toBe('Load more'));
  button.click();
  backend.asked[1]!.hearing.value({ page: [{ body: 'two' }], isDone: true, continueCursor: 'd' });
  await vi.waitFor(() => expect(texts('[role=gridcell][aria-colindex="1"]')).toEqual(['one', 'two']));
});

test('a whole table has its count, where one may look at it', async () => {
  const { backend, texts, state, message } = live({ ...query, path: '_system/tables:rows', args: { table: 'orders', limit: 1 } });
  expect(backend.asked.map(({ path, args }) => [path, args])).toEqual([
    ['_system/tables:rows', { table: 'orders', limit: 1 }],
    ['_system/tables:count', { table: 'orders' }],
  ]);
  backend.asked[0]!.hearing.value([{ n: 1 }]);
  backend.asked[1]!.hearing.value(40);
  await vi.waitFor(() => expect(texts('.nbr-count')).toEqual(['first 1 of 40 rows']));
  backend.asked[0]!.hearing.failed("Could not find public function for '_system/tables:rows'.");
  await vi.waitFor(() => expect(state()).toContain('error'));
  expect(message()).toContain('those who may deploy');
});

test('rows that depend on who looks are not saved: it is said, until they are here', async () => {
  const personal = { ...query, table: { columns: ['body'], rows: [], total: 3 }, personal: true };
  expect(live(personal, new Policy('never')).message()).toBe(PERSONAL);
  const { backend, texts, message } = live(personal);
  expect(message()).toBe('');
  backend.asked[0]!.hearing.value([{ body: 'mine' }]);
  await vi.waitFor(() => expect(texts('[role=gridcell][aria-colindex="1"]')).toEqual(['mine']));
});

test('the setting says which outputs ask, also while they are shown', async () => {
  const policy = new Policy();
  const plain = live(query, policy);
  const trusted = live(query, policy, true);
  const asked = () => [plain, trusted].map(({ backend }) => backend.asked.filter(({ stopped }) => !stopped).length);
  expect(asked()).toEqual([0, 0]); // not known yet
  policy.set('trusted');
  expect(asked()).toEqual([0, 1]);
  policy.set('never');
  expect(asked()).toEqual([0, 0]);
  expect(trusted.state()).toContain('snapshot');
  policy.set('nonsense');
  expect(asked()).toEqual([1, 1]);
  plain.output.dispose();
  policy.set('always');
  expect(asked()).toEqual([0, 1]);
});

test('functions of the system, and what cannot be called so, are not asked for', () => {
  for (const path of ['_system/tables:delete', '_system/env:list', 'chat', 'a b:c', '//evil:x y', 7]) {
    expect(live({ ...query, path }).backend.asked).toEqual([]);
  }
  expect(live({ ...query, args: [1] }).backend.asked).toEqual([]);
  expect(live({ ...query, place: undefined }).backend.asked).toEqual([]);
});
