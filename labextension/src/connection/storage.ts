/**
 * Where stored files are, seen from this page.
 *
 * Functions give addresses of the backend itself, which a browser mostly cannot reach. Behind the page's own Jupyter server
 * the same files are below its mount; else they are at the backend that the kernel is connected to. So of an address only
 * the part that names the file is ever used: no value in a document makes a page ask some other host.
 */

/** What the kernel says of it. */
export interface Place {
  /** Below the page's base url, e.g. `nbreactive/staging`; empty where there is none. */
  mount: string;
  /** Address of the backend, where it is no Jupyter server; empty otherwise. */
  url: string;
}

export const NOWHERE: Place = { mount: '', url: '' };

const FILE = /^https?:\/\/[^\s?#]*\/api\/storage\/([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})$/;
const MOUNT = /^nbreactive(?:\/[A-Za-z0-9_%.-]+)?$/;

export function readPlace(said: unknown): Place {
  const { mount, url } = (typeof said === 'object' && said !== null ? said : {}) as Record<string, unknown>;
  return {
    mount: typeof mount === 'string' && MOUNT.test(mount) ? mount : '',
    url: typeof url === 'string' && /^https?:\/\//.test(url) ? url.replace(/\/+$/, '') : '',
  };
}

/** The UUID of a stored file, if a value is the address of one. */
export function storedFile(value: unknown): string | null {
  return typeof value === 'string' && value.length < 2_000 ? (FILE.exec(value)?.[1] ?? null) : null;
}

/** The base url of the Jupyter server that this page is of; null for any other page. */
export function pageBase(document: Document): string | null {
  const data = document.getElementById('jupyter-config-data')?.textContent;
  try {
    const base: unknown = data ? (JSON.parse(data) as { baseUrl?: unknown }).baseUrl : null;
    return typeof base === 'string' && /^\/(?!\/)/.test(base) ? base.replace(/\/*$/, '/') : null;
  } catch {
    return null;
  }
}

/** How a stored file is fetched from this page; null if it cannot be. */
export function downloadRequest(
  place: Place,
  document: Document,
  file: string,
): { url: string; credentials: RequestCredentials } | null {
  const base = pageBase(document);
  if (place.mount && base !== null) {
    return { url: `${base}${place.mount}/api/storage/${file}`, credentials: 'same-origin' };
  }
  return place.url ? { url: `${place.url}/api/storage/${file}`, credentials: 'omit' } : null;
}

/** Where an upload goes from this page, given the address that a function has signed; null: through the kernel. */
export function uploadAddress(place: Place, document: Document, signed: string): string | null {
  const base = pageBase(document);
  const token = /\/api\/storage\/upload\?token=([A-Za-z0-9_-]+)$/.exec(signed)?.[1];
  // Not `token`, which a Jupyter server takes for one of its own
  return place.mount && base !== null && token
    ? `${base}${place.mount}/api/storage/upload?upload_token=${token}`
    : null;
}
