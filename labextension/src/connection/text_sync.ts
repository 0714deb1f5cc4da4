/**
 * A text that several people write: it is saved a moment after one stops to type, with the version that was changed, and what
 * others have saved meanwhile is merged with what was not saved yet.
 *
 * This knows nothing of pages: whoever shows the text is told what it is, and how it stands.
 */

import { isRecord } from '../records';
import { merge } from '../views/text_merge';
import { dataOf } from './calling';
import type { Json } from './page';

export interface Version {
  readonly text: string;
  readonly version: number;
}

export type SyncState =
  | { readonly kind: 'loading' | 'saved' | 'unsaved' | 'saving' }
  | { readonly kind: 'failed'; readonly message: string }
  /** Both have changed the same words: `theirs` is what is stored. */
  | { readonly kind: 'conflict'; readonly theirs: string };

export interface Showing {
  /** What the text is now; `from` is what was shown until now. */
  readonly text: (text: string, from: string) => void;
  readonly state: (state: SyncState) => void;
}

/** Saves a text as the successor of a version; gives what the function gives. Rejects with data of the code `CONFLICT`. */
export type Save = (text: string, version: number) => Promise<Json>;

/** Milliseconds without typing after which the text is saved, and how long that may be put off by more typing. */
const QUIET = 400;
const LONGEST = 2_000;

export class TextSync {
  private _base: Version | null = null;
  private _text = '';
  private _newest: Version | null = null;
  private _saving: string | null = null;
  private _conflict: Version | null = null;
  private _refused = false;
  private _held = false;
  private _since = 0;
  private _timer: ReturnType<typeof setTimeout> | undefined;

  constructor(
    private readonly _showing: Showing,
    private readonly _save: Save,
  ) {}

  get text(): string {
    return this._text;
  }

  /** What is stored now, as the server says. */
  stored(version: Version): void {
    if (this._newest === null || version.version >= this._newest.version) {
      this._newest = version;
      this._take();
    }
  }

  /** Somebody types here. */
  typed(text: string): void {
    this._text = text;
    this._later();
  }

  /** While characters are composed (Korean, Japanese) the text is left alone. */
  hold(held: boolean): void {
    this._held = held;
    if (!held) {
      this._take();
      this._later();
    }
  }

  /** End a conflict with one of both texts; what was typed since is the own one. */
  resolve(mine: boolean): void {
    const conflict = this._conflict;
    if (conflict === null) {
      return;
    }
    this._conflict = null;
    this._base = this._newest ?? conflict;
    if (!mine) {
      this._show(this._base.text);
    }
    this._take();
    this._flush();
  }

  /** Save now what there is to save. */
  flush(): void {
    this._flush();
  }

  /** Save what there is to save, and listen no more. */
  close(): void {
    this._flush();
    clearTimeout(this._timer);
  }

  private get _dirty(): boolean {
    return this._base !== null && this._text !== this._base.text;
  }

  /** Take what is stored, unless something stands in the way, after which this is called again. */
  private _take(): void {
    const newest = this._newest;
    if (newest === null || this._held || this._saving !== null) {
      return;
    }
    if (this._conflict !== null) {
      this._conflict = newest;
      this._showing.state({ kind: 'conflict', theirs: newest.text });
      return;
    }
    const base = this._base;
    if (base === null) {
      this._base = newest;
      this._show(newest.text);
    } else if (newest.version > base.version || (newest.version === base.version && newest.text !== base.text)) {
      const merged = merge(base.text, this._text, newest.text);
      if (merged === null) {
        this._conflict = newest;
        clearTimeout(this._timer);
        this._showing.state({ kind: 'conflict', theirs: newest.text });
        return;
      }
      this._base = newest;
      this._show(merged);
      if (this._refused) {
        this._refused = false;
        this._flush(); // what was refused has been put on top of what is stored
        return;
      }
    }
    this._tell();
    if (this._dirty) {
      this._later();
    }
  }

  private _show(text: string): void {
    const from = this._text;
    this._text = text;
    if (from !== text) {
      this._showing.text(text, from);
    }
  }

  /** Say again how it stands. */
  tell(): void {
    if (this._conflict === null) {
      this._tell();
    }
  }

  private _tell(): void {
    this._showing.state({ kind: this._base === null ? 'loading' : this._saving !== null ? 'saving' : this._dirty ? 'unsaved' : 'saved' });
  }

  private _later(): void {
    if (!this._dirty || this._conflict !== null) {
      return;
    }
    const now = Date.now();
    this._since ||= now;
    clearTimeout(this._timer);
    this._timer = setTimeout(() => this._flush(), Math.max(0, Math.min(QUIET, this._since + LONGEST - now)));
    if (this._saving === null) {
      this._tell();
    }
  }

  private _flush(): void {
    clearTimeout(this._timer);
    if (!this._dirty || this._saving !== null || this._conflict !== null || this._held) {
      return;
    }
    const base = this._base!;
    const text = (this._saving = this._text);
    this._since = 0;
    this._tell();
    this._save(text, base.version).then(
      result => {
        this._saving = null;
        this._base = { text, version: typeof result === 'number' ? result : base.version + 1 };
        this._ended();
      },
      (error: unknown) => {
        this._saving = null;
        if (isConflict(error)) {
          this._refused = true; // somebody was first; what they have saved comes, or is there already
          this._take();
          return;
        }
        if (this._newest !== null && this._newest.version > base.version) {
          this._take();
        }
        // not tried again by itself: what the function refuses it refuses again
        clearTimeout(this._timer);
        this._showing.state({ kind: 'failed', message: error instanceof Error ? error.message : String(error) });
      },
    );
  }

  private _ended(): void {
    this._tell();
    this._take();
    this._later();
  }
}

function isConflict(error: unknown): boolean {
  const data = dataOf(error);
  return isRecord(data) && data.code === 'CONFLICT';
}
