/**
 * Edits under way: shown at once, dimmed until they are confirmed, and rolled back with what is wrong when they are refused.
 *
 * A confirmed edit stays until the rows have it, so that the old value never flashes up in between.
 */

import type { Json } from '../../connection/page';
import type { Key } from './selection';

export interface Edit {
  readonly key: Key;
  readonly field: string;
  readonly value: Json;
  /** What the row had. */
  readonly before: unknown;
  readonly state: 'sending' | 'sent' | 'refused';
  /** Why it was refused. */
  readonly problem: string;
}

/** Milliseconds that a confirmed edit is shown if the rows never get what it set. */
const GRACE = 3_000;

export class Edits {
  private readonly _edits = new Map<string, Edit>();

  constructor(
    private readonly _send: (id: string, field: string, value: Json) => Promise<unknown>,
    private readonly _changed: (edit: Edit) => void,
  ) {}

  get size(): number {
    return this._edits.size;
  }

  of(key: Key | undefined, field: string): Edit | undefined {
    return this._edits.size > 0 && key !== undefined ? this._edits.get(place(key, field)) : undefined;
  }

  begin(key: Key, field: string, value: Json, before: unknown): void {
    const edit: Edit = { key, field, value, before, state: 'sending', problem: '' };
    this._set(edit);
    this._send(String(key), field, value).then(
      () => this._if(edit, () => {
        const sent = this._set({ ...edit, state: 'sent' });
        setTimeout(() => this._if(sent, () => this._drop(sent)), GRACE);
      }),
      (error: unknown) => this._if(edit, () => {
        this._set({ ...edit, state: 'refused', problem: error instanceof Error ? error.message : String(error) });
      }),
    );
  }

  /** Somebody has seen why it was refused. */
  dismiss(key: Key, field: string): void {
    const edit = this.of(key, field);
    if (edit?.state === 'refused') {
      this._drop(edit);
    }
  }

  /** New rows are here: what they have needs not be shown on top of them. */
  settle(valueOf: (key: Key, field: string) => unknown): void {
    for (const edit of [...this._edits.values()]) {
      const now = JSON.stringify(valueOf(edit.key, edit.field));
      if (edit.state === 'sent' && (now !== JSON.stringify(edit.before) || now === JSON.stringify(edit.value))) {
        this._edits.delete(place(edit.key, edit.field));
      }
    }
  }

  private _set(edit: Edit): Edit {
    this._edits.set(place(edit.key, edit.field), edit);
    this._changed(edit);
    return edit;
  }

  private _drop(edit: Edit): void {
    this._edits.delete(place(edit.key, edit.field));
    this._changed(edit);
  }

  /** A later edit of the same cell is what counts. */
  private _if(edit: Edit, then: () => void): void {
    if (this._edits.get(place(edit.key, edit.field)) === edit) {
      then();
    }
  }
}

function place(key: Key, field: string): string {
  return JSON.stringify([key, field]);
}
