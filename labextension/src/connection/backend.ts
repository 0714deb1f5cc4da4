/**
 * A deployment behind the page's Jupyter server, over Convex's own client: one WebSocket for all that this page shows of it.
 *
 * The client reconnects, sends mutations again that got lost, keeps all results at one timestamp and replays optimistic
 * updates; here only values and errors are put into the forms that views want. Without anything to show, the connection is
 * closed after a while.
 */

import { BaseConvexClient, type OptimisticLocalStore } from 'convex/browser';
import { makeFunctionReference, type FunctionReference } from 'convex/server';
import { ConvexError, convexToJson, jsonToConvex, type Value } from 'convex/values';
import {
  CallError,
  type Args,
  type Backend,
  type Hearing,
  type Json,
  type OptimisticStore,
  type Page,
  type Trouble,
} from './page';

/** Milliseconds without anything to do after which a connection is closed. */
const IDLE = 30_000;
/** Milliseconds after which a client that has given up is replaced. */
const ANEW = 1_000;
/** Attempts to connect that fail before it is asked why: one may meet a server that just restarts. */
const ATTEMPTS = 2;

interface Followed {
  readonly path: string;
  readonly args: Record<string, Value>;
  readonly hearing: Hearing;
  token: string;
  unsubscribe: () => void;
}

/** What this module uses of the client. */
export type Client = Pick<
  BaseConvexClient,
  'subscribe' | 'localQueryResult' | 'mutation' | 'action' | 'close' | 'connectionState' | 'subscribeToConnectionState'
>;
export interface Events {
  /** These queries have other results than before. */
  readonly changed: (tokens: readonly string[]) => void;
  /** The client has given up for good. */
  readonly died: (reason: string) => void;
}
export type Connect = (address: string, events: Events) => Client;
export type AskWhy = (address: string) => Promise<Trouble>;

const FATAL = '[CONVEX FATAL ERROR] ';

const connectWithConvex: Connect = (address, { changed, died }) => {
  const quiet = () => undefined;
  // What ends a client, e.g. a server that was set back to an older state, is told to its log and nowhere else
  const error = (text: unknown) => {
    if (typeof text === 'string' && text.startsWith(FATAL)) {
      died(text.slice(FATAL.length));
    }
  };
  return new BaseConvexClient(address, changed, {
    logger: { logVerbose: quiet, log: quiet, warn: quiet, error },
    unsavedChangesWarning: false,
    skipConvexDeploymentUrlCheck: true,
  });
};

/** Why a WebSocket is refused: browsers do not tell, so a plain request asks at the same door. */
const askWhy: AskWhy = async address => {
  try {
    const { status, type } = await fetch(`${address}/api/health`, { cache: 'no-store', redirect: 'manual' });
    // a hub redirects to where one signs in
    const refused = status === 401 || status === 403 || type === 'opaqueredirect';
    return refused ? 'signed out' : status === 404 ? 'not here' : '';
  } catch {
    return ''; // nobody answers at all
  }
};

export class ConvexBackend implements Backend {
  private readonly _followed = new Map<string, Set<Followed>>();
  private readonly _abort = new Set<(reason: CallError) => void>();
  private _client: Client | null = null;
  private _open = false;
  private _trouble: Trouble = '';
  private _retries = 0;
  private _timer: ReturnType<typeof setTimeout> | undefined;

  constructor(
    private readonly _address: string,
    private readonly _connect: Connect = connectWithConvex,
    private readonly _askWhy: AskWhy = askWhy,
  ) {}

  follow(path: string, args: Args, hearing: Hearing): () => void {
    let values;
    try {
      values = valuesOf(args);
    } catch (error) {
      queueMicrotask(() => hearing.failed(callError(error).message));
      return () => undefined;
    }
    const followed: Followed = { path, args: values, hearing, token: '', unsubscribe: () => undefined };
    this._subscribe(this._use(), followed);
    let wanted = true;
    // What is known already is told as if it had just come: never before this returns
    queueMicrotask(() => {
      if (wanted) {
        hearing.linked(this._open, this._trouble);
        this._tell(followed);
      }
    });
    return () => {
      if (wanted) {
        wanted = false;
        this._unsubscribe(followed);
        this._rest();
      }
    };
  }

  mutate(path: string, args: Args, optimistic?: (store: OptimisticStore) => void): Promise<Json> {
    const options = optimistic && {
      optimisticUpdate: (store: OptimisticLocalStore) => optimistic(storeOf(store)),
    };
    return this._call(client => client.mutation(path, valuesOf(args), options));
  }

  act(path: string, args: Args): Promise<Json> {
    return this._call(client => client.action(path, valuesOf(args)));
  }

  private async _call(work: (client: Client) => Promise<Value>): Promise<Json> {
    const client = this._use();
    let abort: (reason: CallError) => void = () => undefined;
    const aborted = new Promise<never>((_, reject) => (abort = reject));
    this._abort.add(abort);
    try {
      return convexToJson(await Promise.race([work(client), aborted])) as Json;
    } catch (error) {
      throw callError(error);
    } finally {
      this._abort.delete(abort);
      this._rest();
    }
  }

  // ---- the client ----

  private _use(): Client {
    clearTimeout(this._timer);
    if (this._client === null) {
      const mine = () => client === this._client;
      const client: Client = (this._client = this._connect(this._address, {
        changed: tokens => mine() && this._changed(tokens),
        died: reason => mine() && this._died(reason),
      }));
      this._open = client.connectionState().isWebSocketConnected;
      this._trouble = '';
      this._retries = 0;
      client.subscribeToConnectionState(({ isWebSocketConnected, connectionRetries }) => {
        if (mine()) {
          this._linked(isWebSocketConnected, connectionRetries);
        }
      });
      const all = this._all(); // of a client that has died
      this._followed.clear();
      all.forEach(followed => this._subscribe(client, followed));
    }
    return this._client;
  }

  /** Close the connection after a while, if there is nothing to do. */
  private _rest(): void {
    if (this._followed.size === 0 && this._abort.size === 0) {
      clearTimeout(this._timer);
      this._timer = setTimeout(() => {
        const client = this._client;
        this._client = null;
        void client?.close();
      }, IDLE);
    }
  }

  /** The client is of no use any more: whoever followed something is served by another one, soon. */
  private _died(reason: string): void {
    this._client = null;
    this._abort.forEach(abort => abort(new CallError(`The connection has ended before an answer came: ${reason}`)));
    this._open = false;
    this._tellAll();
    clearTimeout(this._timer);
    this._timer = setTimeout(() => this._followed.size > 0 && this._use(), ANEW);
  }

  private _linked(open: boolean, retries: number): void {
    const failed = !open && retries > this._retries;
    this._retries = retries;
    if (open !== this._open || (open && this._trouble !== '')) {
      this._open = open;
      this._trouble = '';
      this._tellAll();
    }
    if (failed && retries >= ATTEMPTS) {
      const client = this._client;
      void this._askWhy(this._address).then(trouble => {
        if (client === this._client && !this._open && trouble !== this._trouble) {
          this._trouble = trouble;
          this._tellAll();
        }
      });
    }
  }

  // ---- queries ----

  private _subscribe(client: Client, followed: Followed): void {
    const { queryToken, unsubscribe } = client.subscribe(followed.path, followed.args);
    followed.token = queryToken;
    followed.unsubscribe = unsubscribe;
    const others = this._followed.get(queryToken) ?? new Set();
    this._followed.set(queryToken, others.add(followed));
  }

  private _unsubscribe(followed: Followed): void {
    const others = this._followed.get(followed.token);
    others?.delete(followed);
    if (others?.size === 0) {
      this._followed.delete(followed.token);
    }
    if (this._client !== null) {
      followed.unsubscribe();
    }
  }

  private _all(): Followed[] {
    return [...this._followed.values()].flatMap(all => [...all]);
  }

  private _tellAll(): void {
    this._all().forEach(({ hearing }) => hearing.linked(this._open, this._trouble));
  }

  private _changed(tokens: readonly string[]): void {
    for (const token of tokens) {
      [...(this._followed.get(token) ?? [])].forEach(followed => this._tell(followed));
    }
  }

  private _tell({ path, args, hearing }: Followed): void {
    let value: Value | undefined;
    try {
      value = this._client?.localQueryResult(path, args);
    } catch (error) {
      hearing.failed(callError(error).message);
      return;
    }
    if (value !== undefined) {
      hearing.value(convexToJson(value) as Json);
    }
  }
}

function valuesOf(args: Args): Record<string, Value> {
  return jsonToConvex(args) as Record<string, Value>;
}

function storeOf(store: OptimisticLocalStore): OptimisticStore {
  const named = (path: string) => makeFunctionReference(path) as FunctionReference<'query'>;
  return {
    get: (path, args) => {
      const value: Value | undefined = store.getQuery(named(path), valuesOf(args));
      return value === undefined ? undefined : (convexToJson(value) as Json);
    },
    set: (path, args, value) => store.setQuery(named(path), valuesOf(args), jsonToConvex(value)),
  };
}

/** What servers and the client put around the text of an error is for logs. */
export function callError(error: unknown): CallError {
  if (error instanceof CallError) {
    return error;
  }
  if (error instanceof ConvexError) {
    const data = convexToJson(error.data as Value) as Json;
    return new CallError(typeof data === 'string' ? data : messageIn(data), data);
  }
  const text = error instanceof Error ? error.message : String(error);
  return new CallError(plainError(text));
}

function messageIn(data: Json): string {
  const said = data !== null && typeof data === 'object' && !Array.isArray(data) ? data.message : undefined;
  return typeof said === 'string' ? said : JSON.stringify(data);
}

export function plainError(text: string): string {
  const plain = text
    .replace(/^\[CONVEX [QMA]\([^)]*\)\] /, '')
    .replace(/^\[Request ID: [^\]]*\] (?:Server Error\n?)?(?:Uncaught )?/, '')
    .replace(/\n\s*Called by client$/, '')
    .trim();
  return plain || text;
}

/** The deployments behind the Jupyter server at `base`, each with one connection. */
export function pageOver(base: string, connect?: Connect): Page {
  const backends = new Map<string, Backend>();
  return {
    backend: mount => {
      const known = backends.get(mount);
      const backend = known ?? new ConvexBackend(new URL(mount, base.replace(/\/?$/, '/')).href, connect);
      backends.set(mount, backend);
      return backend;
    },
  };
}
