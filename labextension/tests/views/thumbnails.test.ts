import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { LiveTable, EMPTY } from '../../src/views/table';
import { Thumbnails } from '../../src/views/thumbnails';

const uuid = (n: number) => `01234567-89ab-cdef-0123-${String(n).padStart(12, '0')}`;
const address = (n: number) => `http://127.0.0.1:3210/api/storage/${uuid(n)}`;
const place = { mount: '', url: 'http://127.0.0.1:3210' };
let asked: string[];
let type: string;
let revoked: string[];

beforeEach(() => {
  asked = [];
  revoked = [];
  type = 'image/png';
  vi.stubGlobal('fetch', (url: string) => {
    asked.push(url);
    return Promise.resolve(new Response(new Blob(['x']), { headers: { 'Content-Type': type } }));
  });
  vi.spyOn(URL, 'createObjectURL').mockImplementation(() => `blob:${asked.length}`);
  vi.spyOn(URL, 'revokeObjectURL').mockImplementation(url => void revoked.push(url));
});

afterEach(() => {
  vi.unstubAllGlobals();
  vi.restoreAllMocks();
});

function table(...values: unknown[]) {
  const thumbnails = new Thumbnails(document, () => place);
  const view = new LiveTable(document, { thumbnails });
  const paint = (...rows: unknown[]) =>
    view.update({ ...EMPTY, status: 'live', table: { columns: ['file'], rows: rows.map(row => [row]), total: 1 } });
  paint(...values);
  return { view, thumbnails, paint, cell: () => view.node.querySelector<HTMLElement>('[role=gridcell]')! };
}

test('the address of an image becomes the image', async () => {
  const { cell, paint } = table(address(1));
  expect(cell().textContent).toBe(address(1));
  await vi.waitFor(() => expect(cell().querySelector('img')?.getAttribute('src')).toBe('blob:1'));
  const image = cell().firstChild;
  paint(address(1));
  expect(cell().firstChild).toBe(image);
  paint(address(2));
  await vi.waitFor(() => expect(cell().querySelector('img')?.getAttribute('src')).toBe('blob:2'));
  expect(cell().title).toBe(address(2));
  paint('<img src=x>');
  expect(cell().querySelector('img')).toBeNull();
  expect(cell().textContent).toBe('<img src=x>');
  expect(asked).toHaveLength(2);
});

test.each(['image/svg+xml', 'text/html', 'application/octet-stream'])('%s stays text', async kind => {
  type = kind;
  const { cell } = table(address(1));
  await vi.waitFor(() => expect(asked).toHaveLength(1));
  await new Promise(resolve => setTimeout(resolve, 10));
  expect(cell().textContent).toBe(address(1));
  expect(URL.createObjectURL).not.toHaveBeenCalled();
});

test('what is called an image and is none is its address again', async () => {
  const { cell } = table(address(1));
  await vi.waitFor(() => expect(cell().querySelector('img')).not.toBeNull());
  cell().querySelector('img')!.dispatchEvent(new Event('error'));
  expect(cell().textContent).toBe(address(1));
  expect(cell().querySelector('img')).toBeNull();
});

test('a foreign host is never asked', async () => {
  const { cell } = table(`https://evil.example.com/api/storage/${uuid(3)}`);
  await vi.waitFor(() => expect(cell().querySelector('img')).not.toBeNull());
  expect(asked).toEqual([`http://127.0.0.1:3210/api/storage/${uuid(3)}`]);
});

test('images are let go of with their table', async () => {
  const { cell, thumbnails } = table(address(1));
  await vi.waitFor(() => expect(cell().querySelector('img')).not.toBeNull());
  thumbnails.dispose();
  await vi.waitFor(() => expect(revoked).toEqual(['blob:1']));
});
