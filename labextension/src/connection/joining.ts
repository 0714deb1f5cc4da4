/**
 * Being in a room as whoever looks at this page: a connection of the page's own to the backend behind its Jupyter server.
 *
 * It speaks as much of the sync protocol as that takes. The room is left when the connection ends, however it does.
 */

export interface Joining {
  /** The address of the backend's WebSocket. */
  readonly url: string;
  readonly room: string;
  readonly data: unknown;
  /** Called with who the server says this is, when it has said so. */
  readonly joined: (user: string) => void;
  /** Called when there is no way: somebody else has to join for us. */
  readonly failed: () => void;
}

const HEARTBEAT = 5_000;
const FIRST_PAUSE = 250;
const LONGEST_PAUSE = 10_000;
/** Attempts in a row that may fail before anybody has answered. */
const ATTEMPTS = 3;

type Open = (url: string) => WebSocket;

/** Join until what is returned is called. */
export function join(joining: Joining, open: Open = url => new WebSocket(url)): () => void {
  const session = newId();
  const client = newId();
  let connections = 0;
  let failures = 0;
  let known = false;
  let socket: WebSocket | null = null;
  let timer: ReturnType<typeof setTimeout> | undefined;
  let ended = false;

  const connect = () => {
    let request = 0;
    const current = (socket = open(joining.url));
    const send = (message: object) => current.send(JSON.stringify(message));
    const call = (what: string, args: object) =>
      send({
        type: 'Mutation',
        requestId: request++,
        udfPath: `nbreactive/presence:${what}`,
        args: [{ room: joining.room, session, ...args }],
      });
    const beat = () => {
      if (current.readyState === 1) {
        call('heartbeat', { data: joining.data });
      }
      timer = setTimeout(beat, HEARTBEAT);
    };
    current.onopen = () => {
      send({
        type: 'Connect',
        sessionId: client,
        connectionCount: connections++,
        lastCloseReason: connections === 0 ? 'InitialConnect' : 'Reconnect',
        clientTs: Date.now(),
      });
      request = connections * 1_000_000; // numbers that this session has not had yet
      call('join', { data: joining.data });
      timer = setTimeout(beat, HEARTBEAT);
    };
    current.onmessage = ({ data }) => {
      const user = userOf(data);
      if (user !== null) {
        known = true;
        failures = 0;
        joining.joined(user);
      }
    };
    current.onclose = () => {
      clearTimeout(timer);
      if (ended) {
        return;
      }
      failures += 1;
      if (!known && failures >= ATTEMPTS) {
        ended = true;
        joining.failed();
        return;
      }
      timer = setTimeout(connect, Math.min(FIRST_PAUSE * 2 ** failures, LONGEST_PAUSE));
    };
  };

  connect();
  return () => {
    ended = true;
    clearTimeout(timer);
    socket?.close();
  };
}

/** One session of this page, and all who are in the room by it. */
interface Shared {
  readonly places: Set<Joining>;
  leave: () => void;
  user: string | null;
}

/** Each bar is a module of its own, so what they share is kept with the page. */
const ROOMS = Symbol.for('nbreactive.rooms');

/** Join as `join` does, with one session for all on this page who join alike: two bars are one tab. */
export function joinOnce(joining: Joining, open?: Open): () => void {
  const rooms = ((globalThis as { [ROOMS]?: Map<string, Shared> })[ROOMS] ??= new Map<string, Shared>());
  const key = JSON.stringify([joining.url, joining.room, joining.data]);
  const known = rooms.get(key);
  const shared: Shared = known ?? { places: new Set(), leave: () => undefined, user: null };
  shared.places.add(joining);
  if (known === undefined) {
    rooms.set(key, shared);
    shared.leave = join(
      {
        ...joining,
        joined: user => {
          shared.user = user;
          shared.places.forEach(place => place.joined(user));
        },
        failed: () => {
          rooms.delete(key);
          shared.places.forEach(place => place.failed());
        },
      },
      open,
    );
  } else if (shared.user !== null) {
    joining.joined(shared.user);
  }
  return () => {
    if (shared.places.delete(joining) && shared.places.size === 0) {
      shared.leave();
      if (rooms.get(key) === shared) {
        rooms.delete(key);
      }
    }
  };
}

/** Who the answer to joining says this is; null for every other message. */
function userOf(data: unknown): string | null {
  try {
    const message = JSON.parse(String(data));
    const user = message?.type === 'MutationResponse' && message.success === true ? message.result?.user : null;
    return typeof user === 'string' ? user : null;
  } catch {
    return null;
  }
}

/** The address of the Jupyter server that this page is of, with what is below it; null on pages of others. */
export function below(document: Document, path: string): string | null {
  try {
    const said = document.getElementById('jupyter-config-data')?.textContent;
    const base: unknown = said ? JSON.parse(said).baseUrl : null;
    if (typeof base !== 'string' || !path) {
      return null;
    }
    const url = new URL(base.replace(/\/?$/, '/') + path, document.location.href);
    url.protocol = url.protocol === 'https:' ? 'wss:' : 'ws:';
    return url.host === document.location.host ? url.href : null;
  } catch {
    return null;
  }
}

function newId(): string {
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
