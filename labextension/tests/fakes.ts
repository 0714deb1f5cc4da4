import type { Args, Backend, Hearing, Json, OptimisticStore } from '../src/connection/page';

/** The part of a WebSocket that those use who speak the sync protocol. */
export class FakeSocket {
  static made: FakeSocket[] = [];
  readyState = 1;
  sent: Record<string, unknown>[] = [];
  onopen: () => void = () => undefined;
  onmessage: (event: { data: unknown }) => void = () => undefined;
  onclose: () => void = () => undefined;
  constructor(readonly url: string) {
    FakeSocket.made.push(this);
  }
  get closed() {
    return this.readyState === 3;
  }
  send(text: string) {
    this.sent.push(JSON.parse(text));
  }
  close() {
    this.readyState = 3;
    this.onclose();
  }
  say(message: object) {
    this.onmessage({ data: JSON.stringify(message) });
  }
  answer(...modifications: object[]) {
    this.say({ type: 'Transition', modifications });
  }
  calls() {
    return this.sent.filter(message => message['type'] === 'Mutation').map(message => message['udfPath']);
  }
}

/** The part of a widget model that the views use. */
export class FakeModel {
  sent: unknown[] = [];
  private _listeners = new Map<string, Set<(said?: unknown) => void>>();
  constructor(private _traits: Record<string, unknown>) {}
  get(name: string) {
    return this._traits[name];
  }
  on(event: string, listener: (said?: unknown) => void) {
    this._listeners.set(event, (this._listeners.get(event) ?? new Set()).add(listener));
  }
  off(event: string, listener: (said?: unknown) => void) {
    this._listeners.get(event)?.delete(listener);
  }
  send(message: unknown) {
    this.sent.push(message);
  }
  /** A message of the kernel. */
  say(message: unknown) {
    this._listeners.get('msg:custom')?.forEach(listener => listener(message));
  }
  set(traits: Record<string, unknown>) {
    Object.assign(this._traits, traits);
    for (const name of Object.keys(traits)) {
      this._listeners.get(`change:${name}`)?.forEach(listener => listener());
    }
  }
}

/** A deployment that notes what it is asked; tests answer by what was heard. */
export class FakeBackend implements Backend {
  asked: { path: string; args: Args; hearing: Hearing; stopped: boolean }[] = [];
  calls: { path: string; args: Args; optimistic: ((store: OptimisticStore) => void) | undefined }[] = [];
  /** What calls give; an Error is thrown. */
  answer: Json | Error = null;
  follow(path: string, args: Args, hearing: Hearing) {
    const one = { path, args, hearing, stopped: false };
    this.asked.push(one);
    return () => {
      one.stopped = true;
    };
  }
  mutate(path: string, args: Args, optimistic?: (store: OptimisticStore) => void) {
    return this._call(path, args, optimistic);
  }
  act(path: string, args: Args) {
    return this._call(path, args);
  }
  private async _call(path: string, args: Args, optimistic?: (store: OptimisticStore) => void): Promise<Json> {
    this.calls.push({ path, args, optimistic });
    if (this.answer instanceof Error) {
      throw this.answer;
    }
    return this.answer;
  }
}
