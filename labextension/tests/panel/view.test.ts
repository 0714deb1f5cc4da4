import { beforeEach, expect, test } from 'vitest';
import type { Json } from '../../src/connection/page';
import { PanelView } from '../../src/panel/view';
import { FakeBackend } from '../fakes';

let backend: FakeBackend;
let view: PanelView;

const say = (text: string, ...args: (string | number)[]) => text.replace(/%(\d)/g, (_, n) => String(args[n - 1]));

/** What is followed now of a path. */
const live = (path: string) => backend.asked.filter(asked => asked.path === path && !asked.stopped);
const push = (path: string, value: Json) => live(path).forEach(({ hearing }) => hearing.value(value));
const button = (label: string) =>
  [...view.node.querySelectorAll('button')].find(
    node => (node.getAttribute('aria-label') ?? node.textContent) === label || node.textContent === label,
  )!;
const tabs = () => [...view.node.querySelectorAll('[role=tab]')].map(tab => tab.textContent);
const cells = () =>
  [...view.node.querySelectorAll('tbody tr')].map(row => [...row.querySelectorAll('td')].map(cell => cell.textContent));
const settle = () => new Promise(resolve => setTimeout(resolve));

async function opened(roles: Json): Promise<void> {
  view.show();
  await settle();
  push('nbreactive/identity:roles', roles);
}

beforeEach(() => {
  backend = new FakeBackend();
  view = new PanelView({
    document,
    say,
    backendOf: () => backend,
    deployments: async () => ({ names: ['default', 'staging'], first: 'default', note: 'shared with nobody' }),
  });
  document.body.replaceChildren(view.node);
});

test('who may deploy sees every page, a viewer what is for them', async () => {
  await opened(['read', 'write']);
  expect(tabs()).toEqual(['Functions', 'Health', 'Settings']);
  expect(live('_system/panel:metrics')).toHaveLength(0);
  push('nbreactive/identity:roles', ['read', 'write', 'deploy']);
  expect(tabs()).toEqual(['Data', 'Functions', 'Logs', 'Schedules', 'Files', 'History', 'Health', 'Settings']);
  push('nbreactive/identity:roles', []);
  expect(tabs()).toEqual([]);
  expect(view.node.textContent).toContain('You may not look at this deployment');
});

test('nothing is followed while nobody looks', async () => {
  await opened(['deploy', 'read']);
  expect(backend.asked.filter(asked => !asked.stopped)).toHaveLength(2);
  view.hide();
  expect(backend.asked.filter(asked => !asked.stopped)).toHaveLength(0);
  view.show();
  expect(live('_system/tables:sizes')).toHaveLength(1);
});

test('tabs are walked with arrows', async () => {
  await opened(['deploy', 'read']);
  const list = view.node.querySelector('[role=tablist]')!;
  const selected = () => view.node.querySelector('[aria-selected=true]')!.textContent;
  const key = (name: string) => list.dispatchEvent(new KeyboardEvent('keydown', { key: name, bubbles: true }));
  key('ArrowRight');
  expect(selected()).toBe('Functions');
  expect(document.activeElement!.textContent).toBe('Functions');
  key('End');
  expect(selected()).toBe('Settings');
  key('ArrowRight');
  expect(selected()).toBe('Data');
  expect(view.node.querySelector('[role=tabpanel]')!.getAttribute('aria-labelledby')).toMatch(/data$/);
});

test('another deployment is another backend', async () => {
  const mounts: string[] = [];
  view = new PanelView({
    document,
    say,
    backendOf: mount => {
      mounts.push(mount);
      return backend;
    },
    deployments: async () => ({ names: ['default', 'staging'], first: 'default', note: '' }),
  });
  await opened(['read']);
  const chooser = view.node.querySelector('select')!;
  chooser.value = 'staging';
  chooser.dispatchEvent(new Event('change'));
  expect(mounts.at(-1)).toBe('nbreactive/staging');
});

test('the connection is told of in words', async () => {
  await opened(['read']);
  const { hearing } = live('nbreactive/identity:roles')[0]!;
  const state = () => view.node.querySelector('.nbr-panel-state')!.textContent;
  hearing.linked(true, '');
  expect(state()).toBe('default: live');
  hearing.linked(false, '');
  expect(state()).toBe('default: reconnecting');
  hearing.linked(false, 'signed out');
  expect(state()).toContain('signed out');
});

test('a table is opened, filtered, and its selected documents are changed', async () => {
  await opened(['deploy', 'read', 'write']);
  push('_system/tables:sizes', [{ name: 'orders', count: 2, bytes: 1500 }]);
  expect(cells()).toEqual([['orders', '2', '1.5 kB']]);
  button('orders').click();
  const rows = [
    { _id: 'a', _creationTime: 1, city: '<img src=x onerror=alert(1)>', n: 1 },
    { _id: 'b', _creationTime: 2, city: 'Oslo', n: 2 },
  ];
  push('_system/panel:page', { page: rows, isDone: true, continueCursor: '' });
  expect(view.node.querySelectorAll('img')).toHaveLength(0);
  expect(cells().map(row => row[2])).toEqual(['<img src=x onerror=alert(1)>', 'Oslo']);

  view.node.querySelector<HTMLInputElement>('[aria-label=Field]')!.value = 'n';
  view.node.querySelector<HTMLInputElement>('[aria-label=Value]')!.value = '2';
  button('Filter').closest('form')!.dispatchEvent(new Event('submit', { cancelable: true }));
  expect(live('_system/panel:page')[0]!.args.filters).toEqual([{ field: 'n', op: 'eq', value: 2 }]);

  const box = view.node.querySelector<HTMLInputElement>('[aria-label="select b"]')!;
  box.checked = true;
  box.dispatchEvent(new Event('change'));
  expect(view.node.textContent).toContain('1 selected');
  view.node.querySelector<HTMLInputElement>('[aria-label="Field to change"]')!.value = 'city';
  view.node.querySelector<HTMLInputElement>('[aria-label="New value"]')!.value = 'Rome';
  button('Set').closest('form')!.dispatchEvent(new Event('submit', { cancelable: true }));
  await settle();
  expect(backend.calls.at(-1)).toMatchObject({
    path: '_system/panel:change',
    args: { ids: ['b'], fields: { city: 'Rome' } },
  });
  const remove = button('Delete the selected documents');
  remove.click();
  expect(backend.calls).toHaveLength(1);
  remove.click();
  await settle();
  expect(backend.calls.at(-1)).toMatchObject({ path: '_system/panel:delete', args: { ids: ['b'] } });
});

test('a document is added as JSON where its table has no schema, and what is wrong is said', async () => {
  await opened(['deploy', 'read', 'write']);
  push('_system/tables:sizes', [{ name: 'free', count: 0, bytes: 0 }]);
  button('free').click();
  push('_system/panel:table', { name: 'free', validator: null, indexes: [] });
  button('Add document').click();
  const area = view.node.querySelector('textarea')!;
  area.value = '[1]';
  button('Save').click();
  await settle();
  expect(view.node.querySelector('.nbr-panel-editor [role=alert]')!.textContent).toContain('expected an object');
  area.value = '{"a": 1}';
  button('Save').click();
  await settle();
  expect(backend.calls.at(-1)!.args).toEqual({ table: 'free', documents: [{ a: 1 }] });
  expect(view.node.textContent).toContain('The document was added.');
});

test('pages go on and back', async () => {
  await opened(['deploy', 'read', 'write']);
  push('_system/tables:sizes', [{ name: 'orders', count: 120, bytes: 1 }]);
  button('orders').click();
  push('_system/panel:page', { page: [{ _id: 'a' }], isDone: false, continueCursor: 'next' });
  button('Next').click();
  expect(live('_system/panel:page')[0]!.args.paginationOpts).toEqual({ numItems: 50, cursor: 'next' });
  button('Previous').click();
  expect(live('_system/panel:page')[0]!.args.paginationOpts).toEqual({ numItems: 50, cursor: null });
});

test('a query is followed, a mutation is run once', async () => {
  await opened(['read', 'write']);
  const args = { type: 'object', value: {} };
  push('nbreactive/panel:functions', [
    { path: 'chat:add', kind: 'mutation', visibility: 'public', args },
    { path: 'chat:list', kind: 'query', visibility: 'public', args },
  ]);
  button('chat:list').click();
  view.node.querySelector('form')!.dispatchEvent(new Event('submit', { cancelable: true }));
  await settle();
  push('chat:list', [{ author: 'Alice' }]);
  expect(cells()).toEqual([['Alice']]);
  push('chat:list', [{ author: 'Alice' }, { author: 'Bob' }]);
  expect(cells()).toHaveLength(2);
  button('← Functions').click();
  expect(live('chat:list')).toHaveLength(0);

  button('chat:add').click();
  backend.answer = 'done it';
  view.node.querySelector('form')!.dispatchEvent(new Event('submit', { cancelable: true }));
  await settle();
  expect(backend.calls).toHaveLength(1);
  expect(view.node.querySelector('.nbr-panel-result')!.textContent).toContain('done it');
});

test('calls are filtered by the server, and one of them is read', async () => {
  await opened(['deploy', 'read']);
  button('Logs').click();
  push('_system/panel:logs', [
    { number: '2', at: 1, path: 'chat:add', kind: 'mutation', duration_ms: 2, level: 3, code: 'FunctionFailed', message: 'it broke', request_id: 'ab', lines: [['LOG', 'before']] },
  ]);
  expect(cells()[0]![2]).toBe('it broke');
  view.node.querySelector<HTMLButtonElement>('tbody button')!.click();
  expect(view.node.querySelector('[aria-label=Call]')!.textContent).toContain('[LOG] before');
  button('Only this request').click();
  expect(live('_system/panel:logs')[0]!.args).toEqual({ limit: 200, text: 'ab' });
});

test('jobs are canceled, cron jobs run now', async () => {
  await opened(['deploy', 'read']);
  button('Schedules').click();
  push('_system/panel:crons', [{ name: 'nightly', function: 'a:b', schedule: { type: 'daily', hourUTC: 2 }, nextRun: 1e12, logs: [] }]);
  push('_system/panel:jobs', [{ _id: 'j', name: 'a:b', scheduledTime: 1e12, args: {}, state: { kind: 'pending' } }]);
  expect(cells()[0]!.slice(0, 2)).toEqual(['nightly', 'daily 02:00 UTC']);
  button('Run nightly now').click();
  await settle();
  expect(backend.calls.at(-1)).toMatchObject({ path: '_system/panel:run_cron', args: { name: 'nightly' } });
  button('Cancel a:b').click();
  await settle();
  expect(backend.calls.at(-1)).toMatchObject({ path: '_system/panel:cancel_job', args: { id: 'j' } });
});

test('deploys are compared and gone back to', async () => {
  await opened(['deploy', 'read']);
  button('History').click();
  const deploy = (version: number) => ({ version, time: 1, author: 'Alice', message: '', modules: { chat: { version } } });
  push('_system/panel:deploys', { deploys: [deploy(2), deploy(1)], current: { chat: 2 } });
  button('1 chat').click();
  push('_system/panel:diff', '-old\n+new');
  expect(view.node.querySelector('.nbr-mod-added')!.textContent).toBe('+new\n');
  const back = button('Go back to version 1 of chat');
  back.click();
  back.click();
  await settle();
  expect(backend.calls.at(-1)).toMatchObject({ path: '_system/panel:roll_back', args: { module: 'chat', version: 1 } });
});

test('values of variables are hidden until somebody asks', async () => {
  await opened(['deploy', 'read']);
  button('Settings').click();
  push('_system/panel:variables', [{ name: 'TOKEN', length: 6 }]);
  expect(cells()[0]![1]).toContain('6 characters');
  expect(live('_system/panel:variable')).toHaveLength(0);
  button('Show the value of TOKEN').click();
  push('_system/panel:variable', 'secret');
  expect(cells()[0]![1]).toContain('secret');
  button('Show the value of TOKEN').click();
  expect(view.node.textContent).not.toContain('secret');
});

test('health says what everybody may know, and more to who may deploy', async () => {
  await opened(['read']);
  button('Health').click();
  push('nbreactive/panel:health', { deployment: 'default', mode: 'dev', connections: 3 });
  expect(view.node.textContent).toContain('Connections3');
  expect(view.node.textContent).not.toContain('Workers');
  push('nbreactive/panel:health', {
    deployment: 'default',
    connections: 4,
    lag: { loop_ms: 1, columns_ms: 0, not_durable: 0 },
    workers: { workers: 2, queued: 0, stuck: 0 },
    columns: { running: true },
    disk: { free: 1e9, total: 2e9 },
    slow: [{ path: 'chat:list', p50: 1, p99: 20, calls: 3 }],
  });
  expect(view.node.textContent).toContain('Workers2, 0 calls waiting');
  expect(cells()).toEqual([['chat:list', '20 ms', '1.0 ms', '3']]);
});
