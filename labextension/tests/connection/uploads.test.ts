import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import widget from '../../src/widgets/file_upload';
import { accepts, describeSize, PIECE, Uploads, type Told } from '../../src/connection/uploads';

class FakeRequest {
  static all: FakeRequest[] = [];
  opened: string[] = [];
  headers: Record<string, string> = {};
  sent: unknown = null;
  status = 0;
  responseText = '';
  aborted = false;
  upload = new EventTarget();
  private _events = new EventTarget();
  constructor() {
    FakeRequest.all.push(this);
  }
  open(method: string, url: string) {
    this.opened = [method, url];
  }
  setRequestHeader(name: string, value: string) {
    this.headers[name] = value;
  }
  addEventListener(name: string, listener: () => void) {
    this._events.addEventListener(name, listener);
  }
  send(body: unknown) {
    this.sent = body;
  }
  abort() {
    this.aborted = true;
  }
  progress(loaded: number) {
    this.upload.dispatchEvent(Object.assign(new Event('progress'), { loaded }));
  }
  answer(status: number, body: object | string) {
    this.status = status;
    this.responseText = typeof body === 'string' ? body : JSON.stringify(body);
    this._events.dispatchEvent(new Event('load'));
  }
  lose() {
    this._events.dispatchEvent(new Event('error'));
  }
}

interface Sent {
  type: string;
  id: number;
  [name: string]: unknown;
}

let sent: Sent[];
let buffers: ArrayBuffer[];
let view: Uploads;
const SIGNED = 'http://127.0.0.1:1/api/storage/upload?token=abc';
const file = (name = 'a.png', size = 4, type = 'image/png') => new File(['x'.repeat(size)], name, { type });
const items = () => [...view.node.querySelectorAll('li')];
const state = (n = 0) => items()[n]!.querySelector('.nbr-upload-state')!.textContent;
const hear = (told: Told) => view.hear(told);

beforeEach(() => {
  FakeRequest.all = [];
  sent = [];
  buffers = [];
  vi.stubGlobal('XMLHttpRequest', FakeRequest);
  document.body.innerHTML = '<script id="jupyter-config-data" type="application/json">{"baseUrl": "/base/"}</script>';
  view = new Uploads(document, (message, pieces) => {
    sent.push(message as Sent);
    buffers.push(...(pieces ?? []));
  });
  view.update({ accept: '', multiple: true, label: '', place: { mount: 'nbreactive', url: '' } });
});

afterEach(() => vi.unstubAllGlobals());

test('a file goes straight to the server, with progress, and is saved by the kernel', () => {
  view.add([file()]);
  expect(sent).toEqual([{ type: 'begin', id: 0, name: 'a.png', size: 4, media: 'image/png' }]);
  hear({ type: 'upload', id: 0, url: SIGNED });
  const request = FakeRequest.all[0]!;
  expect(request.opened).toEqual(['POST', '/base/nbreactive/api/storage/upload?upload_token=abc']);
  expect(request.headers).toEqual({ 'Content-Type': 'image/png' });
  request.progress(2);
  expect(state()).toBe('50 %');
  expect(view.node.querySelector('progress')!.value).toBe(0.5);
  request.answer(200, { storageId: 'kg1' });
  expect(sent[1]).toEqual({ type: 'uploaded', id: 0, storageId: 'kg1' });
  expect(state()).toBe('saving');
  hear({ type: 'saved', id: 0 });
  expect(state()).toBe('saved');
  expect(items()[0]!.dataset.state).toBe('done');
  expect(items()[0]!.querySelector('button')!.hidden).toBe(true);
});

test('errors are texts', () => {
  view.add([file('<b>1</b>'), file('2'), file('3'), file('4')]);
  expect(items()[0]!.querySelector('b')).toBeNull();
  expect(items()[0]!.textContent).toContain('<b>1</b>');
  [0, 1, 2].forEach(id => hear({ type: 'upload', id, url: SIGNED }));
  FakeRequest.all[0]!.answer(413, { code: 'LimitExceeded', message: '<i>too large</i>' });
  FakeRequest.all[1]!.answer(502, '<html>');
  FakeRequest.all[2]!.lose();
  hear({ type: 'failed', id: 3, message: 'FunctionFailed: no' });
  expect([0, 1, 2, 3].map(state)).toEqual([
    '<i>too large</i>',
    'the server answered 502',
    'the connection to the server was lost',
    'FunctionFailed: no',
  ]);
  expect(view.node.querySelector('i')).toBeNull();
  expect(sent.filter(message => message.type === 'cancel').map(message => message.id)).toEqual([0, 1, 2]);
});

test('an upload can be canceled', () => {
  view.add([file()]);
  hear({ type: 'upload', id: 0, url: SIGNED });
  items()[0]!.querySelector('button')!.click();
  expect(FakeRequest.all[0]!.aborted).toBe(true);
  expect(sent.at(-1)).toEqual({ type: 'cancel', id: 0 });
  expect(state()).toBe('canceled');
  FakeRequest.all[0]!.answer(200, { storageId: 'late' });
  hear({ type: 'saved', id: 0 });
  expect(state()).toBe('canceled');
});

test('without a Jupyter server the pieces go through the kernel, one after the other', async () => {
  document.body.innerHTML = '';
  const size = 2 * PIECE + 5;
  view.add([file('big', size)]);
  hear({ type: 'upload', id: 0, url: SIGNED });
  await vi.waitFor(() => expect(buffers).toHaveLength(1));
  hear({ type: 'more', id: 0, offset: PIECE });
  await vi.waitFor(() => expect(buffers).toHaveLength(2));
  hear({ type: 'more', id: 0, offset: 2 * PIECE });
  await vi.waitFor(() => expect(buffers).toHaveLength(3));
  expect(sent.slice(1)).toEqual([
    { type: 'piece', id: 0, offset: 0, last: false },
    { type: 'piece', id: 0, offset: PIECE, last: false },
    { type: 'piece', id: 0, offset: 2 * PIECE, last: true },
  ]);
  expect(buffers.map(piece => piece.byteLength)).toEqual([PIECE, PIECE, 5]);
  hear({ type: 'saved', id: 0 });
  expect(state()).toBe('saved');
});

test('files are dropped, several or one', () => {
  const drop = () => {
    const event = Object.assign(new Event('drop', { cancelable: true }), {
      dataTransfer: { files: [file('1'), file('2')] },
    });
    view.node.querySelector('.nbr-drop')!.dispatchEvent(event);
    return event;
  };
  expect(drop().defaultPrevented).toBe(true);
  expect(items()).toHaveLength(2);
  view.update({ accept: 'image/*', multiple: false, label: '', place: { mount: '', url: '' } });
  drop();
  expect(items()).toHaveLength(3);
  expect(view.node.querySelector('input')!.accept).toBe('image/*');
});

test('the widget listens to its kernel until its view is gone', () => {
  const listeners = new Map<string, (told?: unknown) => void>();
  const traits: Record<string, unknown> = { accept: '', multiple: true, label: 'Add', files: { mount: 'nbreactive' } };
  const model = {
    get: (name: string) => traits[name],
    on: (name: string, listener: () => void) => listeners.set(name, listener),
    off: (name: string) => listeners.delete(name),
    send: () => undefined,
  };
  const el = document.createElement('div');
  const stop = new AbortController();
  widget().render({ model, el, signal: stop.signal } as never);
  expect(el.querySelector('button')!.textContent).toBe('Add');
  traits.label = 'Other';
  listeners.get('change:label')!();
  expect(el.querySelector('button')!.textContent).toBe('Other');
  stop.abort();
  expect(listeners.size).toBe(0);
  expect(el.children).toHaveLength(0);
});

test('sizes are for reading', () => {
  expect([0, 999, 1000, 1500, 123_456, 5e9].map(describeSize)).toEqual([
    '0 B', '999 B', '1 kB', '1.5 kB', '123 kB', '5 GB',
  ]);
});

test('what is dropped and not accepted is said to be so, and not sent', () => {
  view.update({ accept: 'image/*', multiple: true, label: '', place: { mount: 'nbreactive', url: '' } });
  const dropped = Object.assign(new Event('drop'), {
    dataTransfer: { files: [file('notes.txt', 2, 'text/plain'), file()] },
  });
  view.node.querySelector('.nbr-drop')!.dispatchEvent(dropped);
  expect(sent.map(each => each.name)).toEqual(['a.png']);
  expect(items()[0]!.dataset.state).toBe('failed');
  expect(state(0)).toBe('not accepted here: image/* only');
});

test.each([
  ['', 'a.txt', 'text/plain', true],
  ['.csv, .Parquet', 'A.PARQUET', '', true],
  ['.csv', 'a.csv.exe', 'text/csv', false],
  ['image/*', 'a.png', 'image/png', true],
  ['image/*', 'a.png', '', false],
  ['text/csv,image/*', 'a', 'text/csv', true],
  ['text/csv', 'a', 'text/plain', false],
  ['*/*', 'a', '', true],
])('accept %j with %j of type %j: %s', (accept, name, type, taken) => {
  expect(accepts(accept, { name, type })).toBe(taken);
});

test('a page that is loaded again lists what has arrived, once', () => {
  view.arrived([{ id: 7_000_001, name: '<b>.csv', size: 1500 }]);
  view.arrived([{ id: 7_000_001, name: '<b>.csv', size: 1500 }]);
  expect(items().map(item => item.firstChild!.textContent)).toEqual(['<b>.csv (1.5 kB)']);
  expect([items()[0]!.dataset.state, state()]).toEqual(['done', 'saved']);
  view.add([file()]);
  view.arrived([{ id: Number(sent[0]!.id), name: 'a.png', size: 4 }]);
  expect(items()).toHaveLength(2);
});
