import { Panel, Widget } from '@lumino/widgets';
import { expect, test, vi } from 'vitest';
import { Follower, type Hearing } from '../../src/connection/following';
import { MIME_TYPE, WIDGET_MIME_TYPE } from '../../src/outputs/payload';
import { LiveOutput, type Host } from '../../src/outputs/renderer';

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

function model(data: Record<string, unknown>) {
  return { data, metadata: {}, trusted: false, setData: () => {} } as never;
}

const both = model({ [MIME_TYPE]: payload, [WIDGET_MIME_TYPE]: { model_id: 'm' } });
const snapshotShown = (output: LiveOutput) => !output.widgets[1]!.isHidden;

test('without a notebook around it, shows the saved rows and says that they are', async () => {
  const output = new LiveOutput(null);
  await output.renderModel(both);
  expect(output.node.querySelector('td')?.textContent).toBe('saved');
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

class FakeFollower extends Follower {
  asked: { args: unknown; hearing: Hearing; stopped: boolean }[] = [];
  override follow(_path: string, args: unknown, hearing: Hearing) {
    const one = { args, hearing, stopped: false };
    this.asked.push(one);
    return () => {
      one.stopped = true;
    };
  }
}

test('a saved result of SQL is live without a kernel, and leaves the asking to a kernel that shows it', async () => {
  document.body.innerHTML = `<script id="jupyter-config-data" type="application/json">{"baseUrl":"/u/a/"}</script>`;
  const urls: string[] = [];
  const follower = new FakeFollower('');
  const host = new FakeHost();
  const output = new LiveOutput(host, url => {
    urls.push(url);
    return follower;
  });
  await output.renderModel(model({ [MIME_TYPE]: statement, [WIDGET_MIME_TYPE]: { model_id: 'm' } }));
  expect(urls).toEqual([`ws://${document.location.host}/u/a/nbreactive/api/sync`]);
  const [asked] = follower.asked;
  expect(asked!.args).toEqual({ hash: HASH, params: { least: 5 }, offset: 0, limit: 300 });
  const cell = () => output.node.querySelector('[role=gridcell]')?.textContent;
  const state = () => output.node.querySelector('.nbr-state')?.textContent;
  expect(cell()).toBe('1');
  expect(state()).toContain('snapshot');
  asked!.hearing.value({ columns: [{ name: 'n', type: 'BIGINT' }], rows: [[2]], total: 1, offset: 0, complete: true });
  expect(cell()).toBe('2');
  expect(state()).toBe('live');
  asked!.hearing.linked(false);
  expect(state()).toContain('reconnecting');
  host.view!.found();
  await vi.waitFor(() => expect(snapshotShown(output)).toBe(false));
  expect(asked!.stopped).toBe(true);
});

test('an output that names another host, or a statement by its text, asks for nothing', async () => {
  document.body.innerHTML = `<script id="jupyter-config-data" type="application/json">{"baseUrl":"/"}</script>`;
  for (const more of [
    { place: { mount: '../evil', url: 'http://evil' } },
    { args: { sql: 'SELECT 1', params: {} } },
    { path: 'chat:send' },
  ]) {
    const follower = new FakeFollower('');
    const output = new LiveOutput(null, () => follower);
    await output.renderModel(model({ [MIME_TYPE]: { ...statement, ...more } }));
    expect(follower.asked).toEqual([]);
    expect(output.node.querySelector('[role=gridcell]')?.textContent).toBe('1');
  }
});
