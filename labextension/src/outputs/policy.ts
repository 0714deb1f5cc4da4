/** Whether saved outputs become live by themselves: a setting of the user's, which may change while they are shown. */

export type LiveOutputs = 'always' | 'trusted' | 'never';

const KNOWN: readonly unknown[] = ['always', 'trusted', 'never'] satisfies LiveOutputs[];

export class Policy {
  private readonly _listeners = new Set<() => void>();

  /** `null`: not known yet, so that nothing is asked too early. */
  constructor(private _value: LiveOutputs | null = null) {}

  /** Whether an output may ask for what is new. */
  allows(trusted: boolean): boolean {
    return this._value === 'always' || (this._value === 'trusted' && trusted);
  }

  /** Take what the settings say; what they cannot mean is the default. */
  set(said: unknown): void {
    this._value = KNOWN.includes(said) ? (said as LiveOutputs) : 'always';
    this._listeners.forEach(listener => listener());
  }

  onChange(listener: () => void): () => void {
    this._listeners.add(listener);
    return () => this._listeners.delete(listener);
  }
}
