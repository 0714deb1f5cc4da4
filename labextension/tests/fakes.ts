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
  private _listeners = new Map<string, Set<() => void>>();
  constructor(private _traits: Record<string, unknown>) {}
  get(name: string) {
    return this._traits[name];
  }
  on(event: string, listener: () => void) {
    this._listeners.set(event, (this._listeners.get(event) ?? new Set()).add(listener));
  }
  off(event: string, listener: () => void) {
    this._listeners.get(event)?.delete(listener);
  }
  send(message: unknown) {
    this.sent.push(message);
  }
  set(traits: Record<string, unknown>) {
    Object.assign(this._traits, traits);
    for (const name of Object.keys(traits)) {
      this._listeners.get(`change:${name}`)?.forEach(listener => listener());
    }
  }
}
