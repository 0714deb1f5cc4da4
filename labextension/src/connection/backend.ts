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
import { CallError, type Args, type Backend, type Hearing, type Json, type OptimisticStore, type Page } from './page';

/** Milliseconds without anything to do after which a connection is closed. */
const IDLE = 30_000;

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
export type Connect = (address: string, changed: (tokens: readonly string[]) => void) => Client;

const connectWithConvex: Connect = (address, changed) =>
  new BaseConvexClient(address, changed, {
    logger: false,
    unsavedChangesWarning: false,
    skipConvexDeploymentUrlCheck: true,
  });

export class ConvexBackend implements Backend {
  private readonly _followed = new Map<string, Set<Followed>>();
  private _client: Client | null = null;
  private _open = false;
  private _calls = 0;
  private _idle: ReturnType<typeof setTimeout> | undefined;

  constructor(
    private readonly _address: string,
    private readonly _connect: Connect = connectWithConvex,
  ) {}

  follow(path: string, args: Args, hearing: Hearing): () => void {
    const client = this._use();
    const values = valuesOf(args);
    const { queryToken, unsubscribe } = client.subscribe(path, values);
    const followed: Followed = { path, args: values, hearing, token: queryToken, unsubscribe };
    const others = this._followed.get(queryToken) ?? new Set();
    this._followed.set(queryToken, others.add(followed));
    let wanted = true;
    // What is known already is told as if it had just come: never before this returns
    queueMicrotask(() => {
      if (wanted) {
        hearing.linked(this._open);
        this._tell(followed);
      }
    });
    return () => {
      if (!wanted) {
        return;
      }
      wanted = false;
      others.delete(followed);
      if (others.size === 0) {
        this._followed.delete(queryToken);
      }
      followed.unsubscribe();
      this._rest();
    };
  }

  mutate(path: string, args: Args, optimistic?: (store: OptimisticStore) => void): Promise<Json> {
    const optimisticUpdate = optimistic && ((store: OptimisticLocalStore) => optimistic(storeOf(store)));
    return this._call(client => client.mutation(path, valuesOf(args), { optimisticUpdate }));
  }

  act(path: string, args: Args): Promise<Json> {
    return this._call(client => client.action(path, valuesOf(args)));
  }

  private async _call(work: (client: Client) => Promise<Value>): Promise<Json> {
    const client = this._use();
    this._calls += 1;
    try {
      return convexToJson(await work(client)) as Json;
    } catch (error) {
      throw callError(error);
    } finally {
      this._calls -= 1;
      this._rest();
    }
  }

  private _use(): Client {
    clearTimeout(this._idle);
    if (this._client === null) {
      const client = (this._client = this._connect(this._address, tokens => this._changed(tokens)));
      this._open = client.connectionState().isWebSocketConnected;
      client.subscribeToConnectionState(({ isWebSocketConnected }) => {
        if (client === this._client && isWebSocketConnected !== this._open) {
          this._open = isWebSocketConnected;
          this._followed.forEach(all => all.forEach(({ hearing }) => hearing.linked(isWebSocketConnected)));
        }
      });
    }
    return this._client;
  }

  private _rest(): void {
    clearTimeout(this._idle);
    if (this._followed.size === 0 && this._calls === 0) {
      this._idle = setTimeout(() => {
        const client = this._client;
        this._client = null;
        void client?.close();
      }, IDLE);
    }
  }

  private _changed(tokens: readonly string[]): void {
    for (const token of tokens) {
      this._followed.get(token)?.forEach(followed => this._tell(followed));
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
