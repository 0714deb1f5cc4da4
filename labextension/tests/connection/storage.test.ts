import { afterEach, expect, test } from 'vitest';
import { downloadRequest, pageBase, readPlace, storedFile, uploadAddress } from '../../src/connection/storage';

const UUID = '01234567-89ab-cdef-0123-456789abcdef';

function page(config: string | null): void {
  document.getElementById('jupyter-config-data')?.remove();
  if (config !== null) {
    const script = document.createElement('script');
    script.id = 'jupyter-config-data';
    script.type = 'application/json';
    script.textContent = config;
    document.body.append(script);
  }
}

afterEach(() => page(null));

test('addresses of stored files are told from other texts', () => {
  expect(storedFile(`http://127.0.0.1:3210/api/storage/${UUID}`)).toBe(UUID);
  expect(storedFile(`https://x.example.com/staging/api/storage/${UUID}`)).toBe(UUID);
  for (const other of [
    UUID,
    `/api/storage/${UUID}`,
    `javascript:alert(1)//api/storage/${UUID}`,
    `http://x/api/storage/${UUID}/..`,
    `http://x/api/storage/${UUID}?a`,
    `http://x/?/api/storage/${UUID}`,
    `see http://x/api/storage/${UUID}`,
    'http://x/api/storage/upload',
    5,
    null,
    {},
  ]) {
    expect(storedFile(other)).toBeNull();
  }
});

test('a page of Jupyter says where its server is', () => {
  expect(pageBase(document)).toBeNull();
  page('{"baseUrl": "/user/ada"}');
  expect(pageBase(document)).toBe('/user/ada/');
  for (const bad of ['not json', '{"baseUrl": "//evil.example.com/"}', '{"baseUrl": 5}', '']) {
    page(bad);
    expect(pageBase(document)).toBeNull();
  }
});

test('files are fetched from the own server only, whatever host a value names', () => {
  page('{"baseUrl": "/user/ada/"}');
  const place = readPlace({ mount: 'nbreactive/staging', url: '' });
  expect(downloadRequest(place, document, UUID)).toEqual({
    url: `/user/ada/nbreactive/staging/api/storage/${UUID}`,
    credentials: 'same-origin',
  });
  page(null);
  expect(downloadRequest(place, document, UUID)).toBeNull();
  expect(downloadRequest(readPlace({ mount: '', url: 'http://127.0.0.1:1/' }), document, UUID)).toEqual({
    url: `http://127.0.0.1:1/api/storage/${UUID}`,
    credentials: 'omit',
  });
});

test('what is no place is nowhere', () => {
  for (const bad of [null, 5, { mount: '../../x', url: 'javascript:1' }, { mount: 'nbreactive/a/b' }]) {
    expect(readPlace(bad)).toEqual({ mount: '', url: '' });
  }
});

test('an upload goes to the mount with the signature, else through the kernel', () => {
  const signed = 'http://127.0.0.1:3210/api/storage/upload?token=ab_c-1';
  const place = readPlace({ mount: 'nbreactive', url: '' });
  expect(uploadAddress(place, document, signed)).toBeNull();
  page('{"baseUrl": "/"}');
  expect(uploadAddress(place, document, signed)).toBe('/nbreactive/api/storage/upload?upload_token=ab_c-1');
  expect(uploadAddress(place, document, 'http://x/api/storage/upload?token=a&b=c')).toBeNull();
  expect(uploadAddress(readPlace({ url: 'http://127.0.0.1:1' }), document, signed)).toBeNull();
});
