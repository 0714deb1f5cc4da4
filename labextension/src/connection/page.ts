/**
 * What the notebook extension offers to every view on its page: live queries and calls over one shared connection for each
 * deployment.
 *
 * Widgets are modules of their own, loaded by anywidget for each model. They find this on the page and need no client, and
 * where there is no extension (VS Code, Colab, marimo) they go through the kernel.
 */

/** A value as it is on the wire: JSON, with `{$integer}`, `{$bytes}` and `{$float}` for what JSON lacks. */
export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };
export type Args = { [key: string]: Json };

export interface Hearing {
  /** A new result. */
  readonly value: (value: Json) => void;
  /** Why there is none. */
  readonly failed: (message: string) => void;
  /** Whether the connection stands; told at once, and whenever that, or what is known of why, changes. */
  readonly linked: (open: boolean, trouble?: Trouble) => void;
}

/**
 * Why there is no connection, where waiting will not mend it: the server does not let this browser in any more, or has no
 * such deployment.
 */
export type Trouble = '' | 'signed out' | 'not here';

/** Results of queries that a mutation will have changed; what is set holds until its own result is shown. */
export interface OptimisticStore {
  get(path: string, args: Args): Json | undefined;
  set(path: string, args: Args, value: Json): void;
}

/** A deployment, as the user of this page. */
export interface Backend {
  /** Follow a query until what is returned is called. */
  follow(path: string, args: Args, hearing: Hearing): () => void;
  /** Run a mutation; rejects with a :class:`CallError`. */
  mutate(path: string, args: Args, optimistic?: (store: OptimisticStore) => void): Promise<Json>;
  /** Run an action; rejects with a :class:`CallError`. */
  act(path: string, args: Args): Promise<Json>;
}

/** Why a call failed, in words for its caller; `data` is that of an `AppError`. */
export class CallError extends Error {
  constructor(
    message: string,
    readonly data?: Json,
  ) {
    super(message);
    this.name = 'CallError';
  }
}

export interface Page {
  /** The deployment below this mount of the page's Jupyter server, e.g. `nbreactive/default`. */
  backend(mount: string): Backend;
}

/** Changes with every change of the interfaces above. */
const KEY = Symbol.for('nbreactive.page.v1');

export function offer(page: Page): void {
  (globalThis as { [KEY]?: Page })[KEY] = page;
}

const MOUNT = /^nbreactive(?:\/(?!(?:\.|%2[eE]){1,2}$)[A-Za-z0-9_%.-]+)?$/;

/** The deployment below a mount; null where this page has no Jupyter server with the extension. */
export function backendOf(mount: string): Backend | null {
  const page = (globalThis as { [KEY]?: Page })[KEY];
  return page !== undefined && MOUNT.test(mount) ? page.backend(mount) : null;
}
