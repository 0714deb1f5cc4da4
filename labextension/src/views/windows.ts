/**
 * The part of a large SQL result that somebody looks at.
 *
 * A table of a million rows is never sent: the page is subscribed to one window of it, which it moves as the reader
 * scrolls. The last window stays, live, until the next one has come; while one is awaited, only the newest wish counts.
 */

import { isRecord } from '../records';
import type { Args, Backend, Trouble } from '../connection/page';

/** A statement with its parameters, and where it is asked. */
export interface Source {
  readonly path: string;
  readonly args: { readonly hash: string; readonly params: Readonly<Record<string, unknown>> };
}

export interface Frame {
  readonly columns: readonly string[];
  /** The types of the columns, as DuckDB names them. */
  readonly types: readonly string[];
  /** The rows from `offset` on that are here. */
  readonly rows: readonly (readonly unknown[])[];
  readonly offset: number;
  /** How many rows there are. */
  readonly total: number;
}

export interface Shown {
  readonly frame: Frame | null;
  readonly message: string;
  readonly open: boolean;
  /** Why there is no connection, where that is known. */
  readonly trouble: Trouble;
  /** The rows belong to other parameters, or to another place, than those that are awaited. */
  readonly awaited: boolean;
}

/** How windows are fetched: `heard` gets every version of this one, until what is returned is called. */
export type Fetch = (
  source: Source,
  offset: number,
  limit: number,
  heard: {
    frame: (frame: Frame) => void;
    failed: (message: string) => void;
    linked: (open: boolean, trouble?: Trouble) => void;
  },
) => () => void;

/** Live SQL. */
export const SQL_LIVE = '_system/sql:live';

/** Windows over the connection of the page itself. */
export function fetchOver(backend: Backend): Fetch {
  return (source, offset, limit, heard) =>
    backend.follow(SQL_LIVE, { ...(source.args as unknown as Args), offset, limit }, {
      value: value => {
        const frame = readFrame(value);
        if (frame !== null) {
          heard.frame(frame);
        }
      },
      failed: heard.failed,
      linked: heard.linked,
    });
}

interface Wish {
  readonly offset: number;
  readonly limit: number;
}

export class Windows {
  private _source: Source | null = null;
  private _key = '';
  private _stop: (() => void) | null = null;
  private _stopNext: (() => void) | null = null;
  private _wish: Wish | null = null;
  private _asked: Wish | null = null;
  private _shown: Shown = { frame: null, message: '', open: true, trouble: '', awaited: false };

  constructor(
    private readonly _fetch: Fetch,
    private readonly _changed: (shown: Shown) => void,
  ) {}

  /** Which statement is looked at; another one begins with the rows of the one before, until its own come. */
  aim(source: Source | null): void {
    const key = JSON.stringify(source);
    if (key === this._key) {
      return;
    }
    this._key = key;
    this._source = source;
    this._asked = null;
    this._stopNext?.();
    this._stopNext = null;
    if (source === null) {
      this._stop?.();
      this._stop = null;
      this._wish = null;
      this._tell({ frame: null, awaited: false, message: '' });
    } else if (this._wish !== null) {
      this._ask();
    }
  }

  /** What is to be seen. */
  want(offset: number, limit: number): void {
    if (this._wish?.offset === offset && this._wish.limit === limit) {
      return;
    }
    this._wish = { offset, limit };
    if (this._source !== null && this._stopNext === null) {
      this._ask();
    }
  }

  close(): void {
    this._stop?.();
    this._stopNext?.();
    this._stop = this._stopNext = this._source = this._wish = null;
    this._key = '';
  }

  private _ask(): void {
    const wish = (this._asked = this._wish!);
    let current = true;
    let stop: (() => void) | null = null;
    const answered = () => {
      if (stop !== null && this._stopNext === stop) {
        this._stopNext = null;
        this._stop?.();
        this._stop = stop;
        if (this._wish !== null && this._wish !== wish) {
          this._ask();
        }
      }
    };
    const mine = () => current && this._asked !== null && (this._stop === stop || this._stopNext === stop);
    const cancel = this._fetch(this._source!, wish.offset, wish.limit, {
      frame: frame => {
        if (mine()) {
          answered();
          this._tell({ frame, message: '', awaited: this._stopNext !== null });
        }
      },
      failed: message => {
        if (mine()) {
          answered();
          this._tell({ message, awaited: false });
        }
      },
      linked: (open, trouble = '') => this._tell({ open, trouble }),
    });
    stop = () => {
      current = false;
      cancel();
    };
    this._stopNext = stop;
    this._tell({ awaited: true });
  }

  private _tell(change: Partial<Shown>): void {
    this._shown = { ...this._shown, ...change };
    this._changed(this._shown);
  }
}

/** A result of the backend (its columns have names and types), or of the kernel; null if it is none. */
export function readFrame(data: unknown): Frame | null {
  if (!isRecord(data) || !Array.isArray(data.columns) || !Array.isArray(data.rows)) {
    return null;
  }
  const number = (value: unknown, least: number) =>
    typeof value === 'number' && Number.isSafeInteger(value) ? Math.max(value, least) : least;
  const offset = number(data.offset, 0);
  const columns = data.columns.filter(isRecord);
  return {
    columns: columns.map(({ name }) => String(name)),
    types: columns.map(({ type }) => String(type)),
    rows: data.rows.filter(row => Array.isArray(row)),
    offset,
    total: number(data.total, offset + data.rows.length),
  };
}

/** What a saved output, or a kernel, says of where rows come from: a statement by its hash, and never a text. */
export function readSource(path: unknown, args: unknown): Source | null {
  if (path !== SQL_LIVE || !isRecord(args) || typeof args.hash !== 'string' || !/^[0-9a-f]{32}$/.test(args.hash)) {
    return null;
  }
  return { path, args: { hash: args.hash, params: isRecord(args.params) ? args.params : {} } };
}
