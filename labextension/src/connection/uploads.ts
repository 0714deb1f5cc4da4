/**
 * Files on their way: chosen or dropped, sent straight to the server or through the kernel, with progress and an end.
 *
 * The kernel calls the functions (it is who they know): it gives the signed address, and hears which file has arrived.
 * Everything is painted through `textContent`: names of files are what somebody made up.
 */

import { uploadAddress, type Place } from './storage';

export interface UploadOptions {
  accept: string;
  multiple: boolean;
  label: string;
  place: Place;
}

/** What the kernel says of one file. */
export interface Told {
  type: string;
  id: number;
  url?: string;
  message?: string;
  offset?: number;
}

/** A file that has arrived, maybe before this page was loaded. */
export interface Arrived {
  id: number;
  name: string;
  size: number;
}

type Send = (message: object, buffers?: ArrayBuffer[]) => void;

/** A piece of a file that goes through the kernel; the next one follows when it is answered. */
export const PIECE = 1 << 20;

class Upload {
  readonly node: HTMLLIElement;
  private readonly _bar: HTMLProgressElement;
  private readonly _state: HTMLElement;
  private readonly _cancel: HTMLButtonElement;
  private _request: XMLHttpRequest | null = null;
  ended = false;

  constructor(
    document: Document,
    readonly id: number,
    private readonly _file: File,
    private readonly _send: Send,
  ) {
    this.node = entry(document, _file);
    this._bar = document.createElement('progress');
    this._bar.max = 1;
    this._bar.value = 0;
    this._bar.setAttribute('aria-label', `upload of ${_file.name}`);
    this._state = document.createElement('span');
    this._state.className = 'nbr-upload-state';
    this._state.setAttribute('role', 'status');
    this._cancel = document.createElement('button');
    this._cancel.type = 'button';
    this._cancel.textContent = 'Cancel';
    this._cancel.addEventListener('click', () => this.cancel());
    this.node.append(this._bar, this._state, this._cancel);
    this._say('waiting', 'waiting');
    this._send({ type: 'begin', id, name: _file.name, size: _file.size, media: _file.type });
  }

  hear(told: Told, place: Place): void {
    if (this.ended) {
      return;
    }
    if (told.type === 'upload') {
      const address = uploadAddress(place, this.node.ownerDocument, told.url ?? '');
      if (address === null) {
        void this._piece(0);
      } else {
        this._post(address);
      }
    } else if (told.type === 'more') {
      void this._piece(told.offset ?? 0);
    } else if (told.type === 'saved') {
      this._end('done', 'saved');
    } else if (told.type === 'failed') {
      this._end('failed', told.message || 'it failed');
    }
  }

  cancel(): void {
    if (!this.ended) {
      this._send({ type: 'cancel', id: this.id });
      this._end('canceled', 'canceled');
      this._request?.abort();
    }
  }

  private _post(address: string): void {
    const request = (this._request = new XMLHttpRequest());
    request.open('POST', address);
    if (this._file.type) {
      request.setRequestHeader('Content-Type', this._file.type);
    }
    request.upload.addEventListener('progress', event => this._progress(event.loaded));
    request.addEventListener('load', () => {
      if (this.ended) {
        return;
      }
      const said = parse(request.responseText);
      if (request.status === 200 && typeof said.storageId === 'string') {
        this._progress(this._file.size);
        this._say('saving', 'saving');
        this._send({ type: 'uploaded', id: this.id, storageId: said.storageId });
      } else {
        this._fail(typeof said.message === 'string' ? said.message : `the server answered ${request.status}`);
      }
    });
    request.addEventListener('error', () => this._fail('the connection to the server was lost'));
    request.send(this._file);
  }

  /** Send a piece through the kernel, the last one being the one that reaches the end. */
  private async _piece(offset: number): Promise<void> {
    try {
      const end = Math.min(offset + PIECE, this._file.size);
      const data = await this._file.slice(offset, end).arrayBuffer();
      if (!this.ended) {
        this._progress(offset);
        this._send({ type: 'piece', id: this.id, offset, last: end === this._file.size }, [data]);
        if (end === this._file.size) {
          this._say('saving', 'saving');
        }
      }
    } catch (error) {
      this._fail(`it cannot be read: ${String(error)}`);
    }
  }

  private _progress(sent: number): void {
    if (this.ended) {
      return;
    }
    const part = this._file.size ? Math.min(1, sent / this._file.size) : 1;
    this._bar.value = part;
    this._say('uploading', `${Math.floor(part * 100)} %`);
  }

  private _fail(message: string): void {
    if (!this.ended) {
      this._send({ type: 'cancel', id: this.id });
      this._end('failed', message);
    }
  }

  private _end(state: string, text: string): void {
    this.ended = true;
    this._cancel.hidden = true;
    this._bar.hidden = true;
    this._say(state, text);
  }

  private _say(state: string, text: string): void {
    this.node.dataset.state = state;
    this._state.textContent = text;
  }
}

/** An entry of the list: what file it is about. */
function entry(document: Document, file: { name: string; size: number }): HTMLLIElement {
  const node = document.createElement('li');
  const name = document.createElement('span');
  name.className = 'nbr-file';
  name.textContent = `${file.name} (${describeSize(file.size)})`;
  node.append(name);
  return node;
}

export class Uploads {
  readonly node: HTMLElement;
  private readonly _list: HTMLUListElement;
  private readonly _input: HTMLInputElement;
  private readonly _choose: HTMLButtonElement;
  private readonly _uploads = new Map<number, Upload>();
  private readonly _arrived = new Set<number>();
  private _options: UploadOptions = { accept: '', multiple: true, label: '', place: { mount: '', url: '' } };

  /**
   * @param _first The number of the first file: several views of one widget count apart.
   */
  constructor(
    document: Document,
    private readonly _send: Send,
    private _next = 0,
  ) {
    this.node = document.createElement('section');
    this.node.className = 'nbr-upload';
    const drop = document.createElement('div');
    drop.className = 'nbr-drop';
    this._input = document.createElement('input');
    this._input.type = 'file';
    this._input.hidden = true;
    this._choose = document.createElement('button');
    this._choose.type = 'button';
    const hint = document.createElement('span');
    hint.textContent = 'or drop them here';
    drop.append(this._choose, hint, this._input);
    this._list = document.createElement('ul');
    this.node.append(drop, this._list);
    this._choose.addEventListener('click', () => this._input.click());
    this._input.addEventListener('change', () => {
      this.add(this._input.files ?? []);
      this._input.value = ''; // so that the same file can be chosen again
    });
    const over = (inside: boolean) => (event: DragEvent) => {
      event.preventDefault();
      event.stopPropagation(); // or the notebook opens what is dropped
      drop.classList.toggle('nbr-over', inside);
    };
    drop.addEventListener('dragenter', over(true));
    drop.addEventListener('dragover', over(true));
    drop.addEventListener('dragleave', over(false));
    drop.addEventListener('drop', event => {
      over(false)(event);
      this.add(event.dataTransfer?.files ?? []);
    });
  }

  update(options: UploadOptions): void {
    this._options = options;
    this._input.accept = options.accept;
    this._input.multiple = options.multiple;
    this._choose.textContent = options.label || (options.multiple ? 'Choose files' : 'Choose a file');
  }

  add(files: ArrayLike<File>): void {
    for (const file of Array.from(files).slice(0, this._options.multiple ? undefined : 1)) {
      if (!accepts(this._options.accept, file)) {
        this._list.append(this._ended(file, 'failed', `not accepted here: ${this._options.accept} only`));
        continue;
      }
      const upload = new Upload(this.node.ownerDocument, this._next++, file, this._send);
      this._uploads.set(upload.id, upload);
      this._list.append(upload.node);
    }
  }

  /** List files that have arrived before this page was loaded, or through another one. */
  arrived(files: readonly Arrived[]): void {
    for (const file of files) {
      if (!this._uploads.has(file.id) && !this._arrived.has(file.id)) {
        this._arrived.add(file.id);
        this._list.append(this._ended(file, 'done', 'saved'));
      }
    }
  }

  private _ended(file: { name: string; size: number }, state: string, text: string): HTMLLIElement {
    const node = entry(this.node.ownerDocument, file);
    const said = this.node.ownerDocument.createElement('span');
    said.className = 'nbr-upload-state';
    said.setAttribute('role', 'status');
    said.textContent = text;
    node.dataset.state = state;
    node.append(said);
    return node;
  }

  hear(told: Told): void {
    this._uploads.get(told.id)?.hear(told, this._options.place);
  }

  dispose(): void {
    this._uploads.forEach(upload => upload.cancel());
    this.node.remove();
  }
}

/** Whether a file is one of those that `accept` names, as the file dialogue would say; dropped ones it does not see. */
export function accepts(accept: string, file: { name: string; type: string }): boolean {
  const wanted = accept.toLowerCase().split(',').map(each => each.trim());
  const [name, type] = [file.name.toLowerCase(), file.type.toLowerCase()];
  return wanted.every(each => !each) || wanted.some(each =>
    each.startsWith('.')
      ? name.endsWith(each)
      : each.endsWith('/*')
        ? each === '*/*' || type.startsWith(each.slice(0, -1))
        : each === '*' || (each !== '' && each === type)
  );
}

export function describeSize(bytes: number): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB'];
  let unit = 0;
  for (; bytes >= 1000 && unit < units.length - 1; unit++) {
    bytes /= 1000;
  }
  return `${unit === 0 || bytes >= 100 ? Math.round(bytes) : Number(bytes.toPrecision(2))} ${units[unit]}`;
}

function parse(text: string): Record<string, unknown> {
  try {
    const said: unknown = JSON.parse(text);
    return typeof said === 'object' && said !== null ? (said as Record<string, unknown>) : {};
  } catch {
    return {};
  }
}
