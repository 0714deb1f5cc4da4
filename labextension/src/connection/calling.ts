/**
 * How a widget calls a function: straight from the page where that has a way to the backend (also while the kernel works), else by
 * the kernel, which is told what came of it in the first case, too.
 */

import type { AnyModel } from '@anywidget/types';
import { isRecord } from '../records';
import { backendOf, CallError, type Args, type Backend, type Json } from './page';

export type Kind = 'query' | 'mutation' | 'action';

/** The data of an `AppError`. (The page's `CallError` is another class than a widget's own: they are modules of their own.) */
export function dataOf(error: unknown): Json | undefined {
  return error instanceof Error && 'data' in error ? (error.data as Json | undefined) : undefined;
}

/** Call a function of a deployment from the page. */
export function callOver(backend: Backend, kind: Kind, path: string, args: Args): Promise<Json> {
  if (kind !== 'query') {
    return kind === 'action' ? backend.act(path, args) : backend.mutate(path, args);
  }
  return new Promise((resolve, reject) => {
    const stop = backend.follow(path, args, {
      value: value => {
        stop();
        resolve(value);
      },
      failed: message => {
        stop();
        reject(new CallError(message));
      },
      linked: () => undefined,
    });
  });
}

/** Asks the kernel to call, and hears what came of it. Answers to other pages' questions have other ids. */
export class Relay<T extends Record<string, unknown>> {
  private readonly _waiting = new Map<string, { resolve: (value: Json) => void; reject: (error: Error) => void }>();
  private readonly _name = Math.random().toString(36).slice(2);
  private _count = 0;
  private readonly _heard = (said: unknown) => this._hear(said);

  constructor(private readonly _model: AnyModel<T>) {
    _model.on('msg:custom', this._heard);
  }

  call(what: object): Promise<Json> {
    const id = `${this._name}-${++this._count}`;
    this._model.send({ ...what, type: 'call', id });
    return new Promise((resolve, reject) => this._waiting.set(id, { resolve, reject }));
  }

  close(): void {
    this._model.off('msg:custom', this._heard);
    this._waiting.forEach(({ reject }) => reject(new CallError('The widget was closed.')));
  }

  private _hear(said: unknown): void {
    if (!isRecord(said) || said.type !== 'answer') {
      return;
    }
    const waiting = this._waiting.get(String(said.id));
    this._waiting.delete(String(said.id));
    if (typeof said.error === 'string') {
      waiting?.reject(new CallError(said.error, said.data as Json | undefined));
    } else {
      waiting?.resolve((said.value ?? null) as Json);
    }
  }
}

/** Where a widget's function is: its mount below the page's Jupyter server, if it is there. */
export function backendFor(place: unknown): Backend | null {
  return isRecord(place) && typeof place.mount === 'string' ? backendOf(place.mount) : null;
}
