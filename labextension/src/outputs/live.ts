/**
 * What a saved output shows once the page asks for its rows itself, as whoever looks at it: no kernel takes part.
 *
 * Only queries are followed, by name and arguments; nothing here ever calls a mutation.
 */

import { Pages } from '../connection/paginated';
import type { Backend, Hearing, Json, Trouble } from '../connection/page';
import { tableOf } from '../views/cells';
import { LIMIT } from '../views/grid';
import type { LiveState, Status } from '../views/table';
import { fetchOver, Windows } from '../views/windows';
import { TABLE_ROWS, type Origin } from './payload';

/** As many as a table of the kernel has at most. */
const MOST = 100_000;
const TABLE_COUNT = '_system/tables:count';
/** What a backend says of a function that it does not have, or does not show to this user. */
const GONE = /^Could not find public function|^(?:SqlError: )?there is no SQL statement/i;

/** What is known by now; `rows` are null until some came. */
export interface Now {
  readonly rows: Partial<LiveState> | null;
  readonly message: string;
  readonly open: boolean;
  readonly trouble: Trouble;
  /** When the last rows came. */
  readonly updated: number;
}

export class Following {
  private _now: Now = { rows: null, message: '', open: false, trouble: '', updated: 0 };
  private readonly _stop: () => void;
  private _value: Json | undefined;
  private _total = 0;
  /** Rows may be asked for that are not here; only where a result is larger than what a page holds. */
  readonly want: (offset: number, limit: number) => void = () => undefined;
  readonly more: () => void = () => undefined;

  constructor(
    backend: Backend,
    private readonly _origin: Origin,
    private readonly _changed: (now: Now) => void,
  ) {
    const origin = this._origin;
    if (origin.source !== null) {
      const windows = new Windows(fetchOver(backend), ({ frame, message, open, trouble }) => {
        const fresh = frame !== null && frame !== this._now.rows?.window;
        this._tell({ rows: frame && { window: frame }, message, open, trouble }, fresh);
      });
      this.want = (offset, limit) => windows.want(offset, limit);
      this._stop = () => windows.close();
      windows.want(0, LIMIT);
      windows.aim(origin.source);
      return;
    }
    const failed = (message: string) => this._tell({ message: this._explain(message) });
    const linked = (open: boolean, trouble: Trouble = '') => this._tell({ open, trouble });
    if (origin.pageSize > 0) {
      const pages = new Pages(backend, origin.path, origin.args, origin.pageSize, {
        rows: (rows, more) => this._show([...rows], more),
        failed,
        linked,
      });
      this.more = () => pages.more();
      this._stop = () => pages.close();
      return;
    }
    const stops = [backend.follow(origin.path, origin.args, { value: value => this._show(value), failed, linked })];
    const { table } = origin.args;
    if (origin.path === TABLE_ROWS && typeof table === 'string') {
      stops.push(backend.follow(TABLE_COUNT, { table }, this._counting()));
    }
    this._stop = () => stops.forEach(stop => stop());
  }

  close(): void {
    this._stop();
  }

  private _counting(): Hearing {
    return {
      value: total => {
        this._total = typeof total === 'number' ? total : 0;
        if (this._value !== undefined) {
          this._show(this._value);
        }
      },
      failed: () => undefined,
      linked: () => undefined,
    };
  }

  private _show(value: Json, more: LiveState['more'] = ''): void {
    if (this._origin.source !== null) {
      return;
    }
    this._value = value;
    const known = Array.isArray(value) ? Math.max(this._total, value.length) : 0;
    const table = tableOf(value, this._origin.layout, MOST, known, this._now.rows?.table);
    this._tell({ rows: { table, more }, message: '' }, true);
  }

  private _tell(change: Partial<Now>, fresh = false): void {
    this._now = { ...this._now, ...change, ...(fresh && { updated: Date.now() }) };
    this._changed(this._now);
  }

  private _explain(message: string): string {
    return GONE.test(message) && this._origin.source === null && this._origin.path === TABLE_ROWS
      ? 'Whole tables are for those who may deploy functions here; you may look at what functions give.'
      : message;
  }
}

/** How an output stands that asks by itself. */
export function statusOf({ rows, message, open, trouble }: Now): Status {
  if (trouble === 'signed out') {
    return trouble;
  }
  if (message !== '') {
    return GONE.test(message) ? 'gone' : 'error';
  }
  return rows === null ? 'snapshot' : open ? 'live' : 'reconnecting';
}

/** What a reader may do about it. */
export function messageOf({ message, trouble }: Now, mount: string): string {
  switch (trouble) {
    case 'signed out':
      return 'You are signed out of this Jupyter server: load the page again and sign in, then this output is live again.';
    case 'not here':
      return `This Jupyter server does not answer at ${mount}: is nbreactive running on it, with this deployment?`;
    default:
      return message;
  }
}
