/**
 * Live queries of a page's own: a connection to the backend behind the page's Jupyter server, without any kernel.
 *
 * It speaks as much of the sync protocol as that takes: a set of queries, and transitions which say what they give. All
 * that is asked within one turn goes out as one change of the set. After a broken connection everything is asked again;
 * what was shown stays until it is answered.
 */

export interface Hearing {
  /** A new result. */
  readonly value: (value: unknown) => void;
  /** Why there is none. */
  readonly failed: (message: string) => void;
  /** Whether the connection stands. */
  readonly linked: (open: boolean) => void;
}

type Open = (url: string) => WebSocket;
type Change = { type: 'Add' | 'Remove'; queryId: number; udfPath?: string; args?: unknown[] };

const FIRST_PAUSE = 250;
const LONGEST_PAUSE = 10_000;

export class Follower {
  private readonly _queries = new Map<number, { path: string; args: unknown; hearing: Hearing }>();
  private readonly _session = newId();
  private _socket: WebSocket | null = null;
  private _open = false;
  private _connections = 0;
  private _failures = 0;
  private _last = 0;
  private _version = 0;
  private _changes: Change[] = [];
  private _parts: string[] = [];
  private _timer: ReturnType<typeof setTimeout> | undefined;

  constructor(
    private readonly _url: string,
    private readonly _connect: Open = url => new WebSocket(url),
  ) {}

  /** Follow a query until what is returned is called. */
  follow(path: string, args: unknown, hearing: Hearing): () => void {
    const queryId = this._last++;
    this._queries.set(queryId, { path, args, hearing });
    if (this._socket === null) {
      clearTimeout(this._timer);
      this._dial();
    }
    this._change(this._add(queryId));
    return () => {
      if (this._queries.delete(queryId)) {
        this._change({ type: 'Remove', queryId });
      }
    };
  }

  private _add(queryId: number): Change {
    const { path, args } = this._queries.get(queryId)!;
    return { type: 'Add', queryId, udfPath: path, args: [args] };
  }

  /** Note a change of the set; those of one turn are sent together. */
  private _change(change: Change): void {
    this._changes.push(change);
    if (this._changes.length === 1) {
      queueMicrotask(() => this._flush());
    }
  }

  private _flush(): void {
    const modifications = this._changes;
    this._changes = [];
    if (this._queries.size === 0) {
      this._hangUp();
    } else if (this._open && modifications.length > 0) {
      this._send({
        type: 'ModifyQuerySet',
        baseVersion: this._version,
        newVersion: ++this._version,
        modifications,
      });
    }
  }

  private _dial(): void {
    const socket = (this._socket = this._connect(this._url));
    socket.onopen = () => {
      if (socket !== this._socket) {
        return;
      }
      this._open = true;
      this._version = 0;
      this._parts = [];
      this._send({
        type: 'Connect',
        sessionId: this._session,
        connectionCount: this._connections++,
        lastCloseReason: this._connections === 1 ? 'InitialConnect' : 'Reconnect',
        clientTs: Date.now(),
      });
      this._changes = [...this._queries.keys()].map(queryId => this._add(queryId));
      this._flush();
      this._tell(true);
    };
    socket.onmessage = ({ data }) => {
      if (socket === this._socket) {
        this._hear(String(data));
      }
    };
    socket.onclose = () => {
      if (socket !== this._socket) {
        return;
      }
      this._socket = null;
      this._open = false;
      this._failures += 1;
      this._tell(false);
      if (this._queries.size > 0) {
        this._timer = setTimeout(() => this._dial(), Math.min(FIRST_PAUSE * 2 ** this._failures, LONGEST_PAUSE));
      }
    };
  }

  private _hangUp(): void {
    clearTimeout(this._timer);
    const socket = this._socket;
    this._socket = null;
    this._open = false;
    socket?.close();
  }

  private _hear(text: string): void {
    let message;
    try {
      message = JSON.parse(text);
    } catch {
      this._socket?.close();
      return;
    }
    if (message?.type === 'TransitionChunk') {
      if (message.partNumber === 0) {
        this._parts = [];
      }
      this._parts.push(String(message.chunk));
      if (this._parts.length === message.totalParts) {
        this._hear(this._parts.splice(0).join(''));
      }
    } else if (message?.type === 'Transition' && Array.isArray(message.modifications)) {
      this._failures = 0;
      for (const { type, queryId, value, errorMessage } of message.modifications) {
        const hearing = this._queries.get(queryId)?.hearing;
        if (type === 'QueryUpdated') {
          hearing?.value(value);
        } else if (type === 'QueryFailed') {
          hearing?.failed(plainError(String(errorMessage)));
        }
      }
    } else if (message?.type === 'FatalError' || message?.type === 'AuthError') {
      this._queries.forEach(({ hearing }) => hearing.failed(String(message.error)));
    }
  }

  private _tell(open: boolean): void {
    this._queries.forEach(({ hearing }) => hearing.linked(open));
  }

  private _send(message: object): void {
    this._socket!.send(JSON.stringify(message));
  }
}

const followers = new Map<string, Follower>();

/** The connection of this page to an address; all outputs share it. */
export function followerOf(url: string): Follower {
  const known = followers.get(url);
  if (known !== undefined) {
    return known;
  }
  const made = new Follower(url);
  followers.set(url, made);
  return made;
}

/** What servers put around the text of an error is for logs. */
function plainError(message: string): string {
  return message.replace(/^\[Request ID: [^\]]*\] Server Error\n?(?:Uncaught )?/, '') || message;
}

export function newId(): string {
  if (typeof crypto.randomUUID === 'function') {
    return crypto.randomUUID();
  }
  // pages without TLS have no randomUUID
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6]! & 0x0f) | 0x40;
  bytes[8] = (bytes[8]! & 0x3f) | 0x80;
  const hex = Array.from(bytes, byte => byte.toString(16).padStart(2, '0')).join('');
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
}
