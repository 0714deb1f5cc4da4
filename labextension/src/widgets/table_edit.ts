/** How an edit of a cell becomes a call of a function: straight from the page where that can, else by the kernel. */

import type { AnyModel } from '@anywidget/types';
import { Relay } from '../connection/calling';
import { backendOf, type Args, type Backend, type Json } from '../connection/page';
import { readPlace } from '../connection/storage';
import { isRecord } from '../records';

/** Which function edits, and how it is called: `path(id=..., field=value)`, or `path(id=..., fields={field: value})`. */
export interface Target {
  readonly path: string;
  readonly id: string;
  readonly wrap: string;
}

export function readTarget(options: unknown): Target | null {
  const edit = isRecord(options) ? options.edit : null;
  if (!isRecord(edit) || typeof edit.path !== 'string') {
    return null;
  }
  const text = (said: unknown, otherwise: string) => (typeof said === 'string' && said ? said : otherwise);
  return { path: edit.path, id: text(edit.id, 'id'), wrap: text(edit.wrap, '') };
}

export function argsOf({ id, wrap }: Target, document: string, field: string, value: Json): Args {
  return { [id]: document, ...(wrap ? { [wrap]: { [field]: value } } : { [field]: value }) };
}

/** Sends edits; what is without a path is a function of the kernel's own. */
export class Editing<T extends Record<string, unknown>> {
  private _relay: Relay<T> | null = null;

  constructor(
    private readonly _model: AnyModel<T>,
    private readonly _find: (mount: string) => Backend | null = backendOf,
  ) {}

  send(document: string, field: string, value: Json): Promise<Json> {
    const target = readTarget(this._model.get('options' as never));
    if (target === null) {
      return Promise.reject(new Error('this table cannot be edited'));
    }
    const backend = target.path ? this._find(readPlace(this._model.get('files' as never)).mount) : null;
    if (backend !== null) {
      return backend.mutate(target.path, argsOf(target, document, field, value));
    }
    this._relay ??= new Relay(this._model);
    return this._relay.call({ document, field, value });
  }

  close(): void {
    this._relay?.close();
  }
}
