/**
 * A paginated query: a list that grows a page at a time, and whose pages are all live, as in `nbreactive/client/pages.py`.
 *
 * Each page is a live query of its own, from its cursor to where it ended when it was loaded. A page that has become large is
 * replaced by two halves once both are there; a cursor that the server knows no more means to begin again.
 */

import { isRecord } from '../records';
import type { Args, Backend, Json, Trouble } from './page';

export interface Paginated {
  /** The rows of all loaded pages, and whether there are more: `'more'`, `'loading'`, or `''`. */
  readonly rows: (rows: readonly Json[], more: '' | 'more' | 'loading') => void;
  readonly failed: (message: string) => void;
  readonly linked: (open: boolean, trouble?: Trouble) => void;
}

interface Opts {
  readonly numItems: number;
  readonly cursor: string | null;
  readonly endCursor?: string;
  readonly id: number;
}

interface Answer {
  readonly page: readonly Json[];
  readonly isDone: boolean;
  readonly continueCursor: string;
  readonly splitCursor: string;
  readonly pageStatus: string;
}

interface Page {
  readonly opts: Opts;
  answer: Answer | null;
  message: string;
  /** The pages that will replace it, when both have an answer. */
  halves: [Page, Page] | null;
  stop: () => void;
}

/** Every beginning has an id that the server has not seen on this connection. */
let ids = 0;

export class Pages {
  private _id = ++ids;
  private _pages: Page[] = [];
  private _waiting = false;
  private _closed = false;

  constructor(
    private readonly _backend: Backend,
    private readonly _path: string,
    private readonly _args: Args,
    private readonly _size: number,
    private readonly _heard: Paginated,
  ) {
    this._begin();
  }

  /** Load the next page, if there is one and all before it are there. */
  more(): void {
    const last = this._pages.at(-1)?.answer;
    if (!this._closed && last && !last.isDone && this._pages.every(({ answer }) => answer !== null)) {
      this._pages.push(this._open({ numItems: this._size, cursor: last.continueCursor, id: this._id }));
      this._later();
    }
  }

  close(): void {
    this._closed = true;
    this._all().forEach(({ stop }) => stop());
    this._pages = [];
  }

  private _begin(): void {
    this._all().forEach(({ stop }) => stop());
    this._id = ++ids;
    this._pages = [this._open({ numItems: this._size, cursor: null, id: this._id })];
  }

  private _all(): Page[] {
    return this._pages.flatMap(page => [page, ...(page.halves ?? [])]);
  }

  private _open(opts: Opts): Page {
    const page: Page = { opts, answer: null, message: '', halves: null, stop: () => undefined };
    page.stop = this._backend.follow(this._path, { ...this._args, paginationOpts: { ...opts } }, {
      value: value => {
        page.answer = readAnswer(value);
        page.message = page.answer === null ? `${this._path} does not return a page.` : '';
        this._later();
      },
      failed: message => {
        page.message = message;
        this._later();
      },
      linked: (open, trouble) => {
        if (page === this._pages[0]) {
          this._heard.linked(open, trouble);
        }
      },
    });
    return page;
  }

  /** What changed together is told together. */
  private _later(): void {
    if (!this._waiting) {
      this._waiting = true;
      queueMicrotask(() => {
        this._waiting = false;
        if (!this._closed) {
          this._look();
        }
      });
    }
  }

  private _look(): void {
    this._split();
    const rows: Json[] = [];
    for (const [at, { answer, message, opts }] of this._pages.entries()) {
      if (message !== '') {
        if (message.includes('InvalidCursor') && (at > 0 || answer !== null || opts.endCursor !== undefined)) {
          this._begin();
        } else {
          this._heard.failed(message);
        }
        return;
      }
      if (answer === null || answer.pageStatus === 'SplitRequired') {
        if (at > 0) {
          this._heard.rows(rows, 'loading');
        }
        return;
      }
      rows.push(...answer.page);
    }
    this._heard.rows(rows, this._pages.at(-1)!.answer!.isDone ? '' : 'more');
  }

  private _split(): void {
    this._pages = this._pages.flatMap(page => {
      if (page.halves?.every(({ answer }) => answer !== null)) {
        page.stop();
        return page.halves;
      }
      return [page];
    });
    for (const page of this._pages) {
      const { answer, opts, halves } = page;
      const large =
        answer !== null && (answer.pageStatus.startsWith('Split') || answer.page.length > 2 * opts.numItems);
      if (halves === null && large && answer.splitCursor !== '' && page.message === '') {
        const middle = answer.splitCursor;
        page.halves = [
          this._open({ ...opts, endCursor: middle }),
          this._open({ ...opts, cursor: middle, endCursor: answer.continueCursor }),
        ];
      }
    }
  }
}

function readAnswer(value: Json): Answer | null {
  if (!isRecord(value) || !Array.isArray(value.page) || typeof value.continueCursor !== 'string') {
    return null;
  }
  const text = (said: unknown) => (typeof said === 'string' ? said : '');
  return {
    page: value.page as Json[],
    isDone: value.isDone === true,
    continueCursor: value.continueCursor,
    splitCursor: text(value.splitCursor),
    pageStatus: text(value.pageStatus),
  };
}
