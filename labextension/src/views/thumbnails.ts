/**
 * Small pictures in place of the addresses of stored images.
 *
 * A file is fetched as a blob, and only one whose type no browser runs becomes the source of an `<img>`; it is never a
 * part of the page. What is no image, is too large or cannot be fetched stays the text that it was.
 */

import { downloadRequest, storedFile, type Place } from '../connection/storage';

const IMAGES = ['image/png', 'image/jpeg', 'image/gif', 'image/webp', 'image/avif', 'image/bmp'];
const MAX_BYTES = 10 << 20;
const MAX_KEPT = 200;
const AT_ONCE = 4;

export class Thumbnails {
  private readonly _kept = new Map<string, Promise<string | null>>();
  private readonly _waiting: (() => void)[] = [];
  private readonly _stop = new AbortController();
  private _loading = 0;

  constructor(
    private readonly _document: Document,
    private readonly _place: () => Place,
  ) {}

  /** Show the image that a value is the address of; false if it is none, and the cell is to be painted as text. */
  paint(cell: HTMLElement, value: unknown): boolean {
    const file = storedFile(value);
    if (file === null || downloadRequest(this._place(), this._document, file) === null) {
      if (cell.dataset.file !== undefined) {
        delete cell.dataset.file;
        cell.replaceChildren();
      }
      return false;
    }
    if (cell.dataset.file !== file) {
      cell.dataset.file = file;
      cell.textContent = String(value);
      cell.title = String(value);
      void this._source(file).then(source => {
        if (source !== null && cell.dataset.file === file) {
          const image = this._document.createElement('img');
          image.className = 'nbr-thumbnail';
          image.alt = 'stored image';
          image.addEventListener('error', () => {
            if (cell.dataset.file === file) {
              cell.textContent = String(value); // it is called an image, and is none
            }
          });
          image.src = source;
          cell.replaceChildren(image);
        }
      });
    }
    return true;
  }

  /** Whether a value is the address of a stored file that this page can fetch. */
  shows(value: unknown): boolean {
    const file = storedFile(value);
    return file !== null && downloadRequest(this._place(), this._document, file) !== null;
  }

  /** Let go of all images. */
  dispose(): void {
    this._stop.abort();
    for (const source of this._kept.values()) {
      void source.then(url => url !== null && URL.revokeObjectURL(url));
    }
    this._kept.clear();
  }

  private _source(file: string): Promise<string | null> {
    const kept = this._kept.get(file);
    if (kept) {
      return kept;
    }
    if (this._kept.size >= MAX_KEPT) {
      const [oldest, source] = this._kept.entries().next().value!;
      this._kept.delete(oldest);
      void source.then(url => url !== null && URL.revokeObjectURL(url));
    }
    const source = this._load(file).catch(() => null);
    this._kept.set(file, source);
    return source;
  }

  private async _load(file: string): Promise<string | null> {
    if (this._loading >= AT_ONCE) {
      await new Promise<void>(resolve => this._waiting.push(resolve));
    }
    this._loading++;
    try {
      const request = downloadRequest(this._place(), this._document, file);
      if (request === null || this._stop.signal.aborted) {
        return null;
      }
      const loading = new AbortController();
      this._stop.signal.addEventListener('abort', () => loading.abort(), { once: true });
      const answer = await fetch(request.url, { credentials: request.credentials, signal: loading.signal });
      const type = (answer.headers.get('Content-Type') ?? '').split(';')[0]!.trim().toLowerCase();
      const size = Number(answer.headers.get('Content-Length') ?? 0);
      if (!answer.ok || !IMAGES.includes(type) || size > MAX_BYTES) {
        loading.abort();
        return null;
      }
      const blob = await answer.blob();
      return blob.size <= MAX_BYTES ? URL.createObjectURL(new Blob([blob], { type })) : null;
    } finally {
      this._loading--;
      this._waiting.shift()?.();
    }
  }
}
