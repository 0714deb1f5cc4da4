/**
 * A form for the arguments of a function: what is typed is checked as the server would, and errors stand at their field.
 *
 * Whatever calls the function is told what was given, and answers with its result or its error; this view knows nothing of
 * connections.
 */

import { dataOf } from '../connection/calling';
import type { Args, Json } from '../connection/page';
import { isRecord } from '../records';
import { cellText } from './cell_text';
import { fieldsOf, readFields, writeFields } from './form_composites';
import { makeField, type Field, type Making } from './form_fields';
import { keepKeys } from './keys';
import { placeOf, readShape, type Shape } from './form_values';

export interface FormOptions {
  readonly title: string;
  readonly note: string;
  /** The JSON of the validator of all arguments. */
  readonly args: unknown;
  /** Arguments that are given already. */
  readonly fixed: readonly string[];
  readonly initial: Args;
  readonly labels: Readonly<Record<string, string>>;
  readonly multiline: readonly string[];
  readonly submit: string;
  /** What is said when it has gone well; empty: that it has, and its result. */
  readonly success: string;
  /** Whether the form is as it was at first when it has gone well. */
  readonly reset: boolean;
}

export type Submit = (args: Args) => Promise<Json>;

const LONGEST = 2_000;
let forms = 0;

export class Form {
  readonly node: HTMLElement;
  private readonly _fields: Map<string, Field>;
  private readonly _whole: Field | null = null;
  private readonly _form: HTMLFormElement;
  private readonly _button: HTMLButtonElement;
  private readonly _said: HTMLElement;
  private _busy = false;

  constructor(
    private readonly _document: Document,
    private readonly _options: FormOptions,
    private readonly _submit: Submit,
  ) {
    const number = ++forms;
    let ids = 0;
    const making: Making = {
      document: _document,
      labels: _options.labels,
      multiline: _options.multiline,
      blank: Object.keys(_options.initial).filter(name => _options.initial[name] === ''),
      id: () => `nbr-form-${number}-${++ids}`,
    };
    this.node = this._make('section', 'nbr-form');
    keepKeys(this.node);
    this._form = this._make('form', 'nbr-form-body');
    this._form.noValidate = true;
    this._form.setAttribute('aria-label', _options.title);
    this._said = this._make('div', 'nbr-form-said');
    this._said.setAttribute('role', 'status');
    this._button = this._make('button', 'nbr-submit');
    this._button.type = 'submit';
    this._button.textContent = _options.submit;

    const shape = readShape(_options.args);
    const entries = shape.kind === 'object' ? shape.fields.filter(({ name }) => !_options.fixed.includes(name)) : [];
    this._fields = fieldsOf(making, entries);
    if (shape.kind !== 'object') {
      this._whole = makeField(making, { label: 'Arguments', path: '', optional: true }, shape as Shape);
    }
    if (_options.title !== '') {
      const title = this._make('div', 'nbr-form-title');
      title.textContent = _options.title;
      this._form.append(title);
    }
    if (_options.note !== '') {
      const note = this._make('div', 'nbr-form-note');
      note.textContent = _options.note;
      this._form.append(note);
    }
    const foot = this._make('div', 'nbr-form-foot');
    foot.append(this._button, this._said);
    this._form.append(...this._inside().map(({ node }) => node), foot);
    this.node.append(this._form);
    this._restore();
    this._form.addEventListener('submit', event => {
      event.preventDefault();
      void this._send();
    });
    this._form.addEventListener('keydown', event => {
      // In a text of several lines Enter is a line. In JupyterLab's pages the browser does not submit by itself
      const line = event.target instanceof HTMLInputElement && event.target.type !== 'file';
      if (event.key === 'Enter' && !event.isComposing && (line || event.ctrlKey || event.metaKey)) {
        event.preventDefault();
        void this._send();
      }
    });
  }

  private _inside(): Field[] {
    return this._whole ? [this._whole] : [...this._fields.values()];
  }

  private _restore(): void {
    this._inside().forEach(field => field.clear());
    writeFields(this._fields, this._options.initial);
    this._whole?.write(Object.keys(this._options.initial).length > 0 ? this._options.initial : undefined);
  }

  /** What was typed; null if something is wrong, which is marked then. */
  private _read(): Args | null {
    const wrong: HTMLElement[] = [];
    const note = (at: HTMLElement) => wrong.push(at);
    this._inside().forEach(field => field.clear());
    const given = this._whole ? (this._whole.read(note) ?? {}) : readFields(this._fields, note);
    if (this._whole && wrong.length === 0 && !isRecord(given)) {
      wrong.push(this._whole.mark([], 'expected an object: {"name": value}') ?? this._button);
    }
    if (wrong.length > 0) {
      this._say('problem', wrong.length === 1 ? 'One field is not right yet.' : `${wrong.length} fields are not right yet.`);
      wrong[0]!.focus();
      return null;
    }
    return given as Args;
  }

  private async _send(): Promise<void> {
    if (this._busy) {
      return;
    }
    const args = this._read();
    if (args === null) {
      return;
    }
    this._setBusy(true);
    this._say('busy', 'Sending…');
    try {
      const result = await this._submit(args);
      const shown = result === null ? '' : cellText(result);
      this._say('done', this._options.success || (shown === '' ? 'Done' : `Done: ${shown}`));
      if (this._options.reset) {
        const inside = this.node.contains(this._document.activeElement);
        this._restore();
        if (inside) {
          this._first()?.focus();
        }
      }
    } catch (error) {
      this._failed(error);
    } finally {
      this._setBusy(false);
    }
  }

  private _first(): HTMLElement | null {
    return this._form.querySelector<HTMLElement>('input, select, textarea');
  }

  /** Say what is wrong at the field that it is about, where that is told. */
  private _failed(error: unknown): void {
    const message = (error instanceof Error ? error.message : String(error)).slice(0, LONGEST);
    const data = dataOf(error);
    const place =
      isRecord(data) && typeof data.field === 'string' && typeof data.message === 'string'
        ? { steps: data.field.split('.'), message: data.message }
        : placeOf(message);
    const [name, ...rest] = place?.steps ?? [];
    const at = this._fields.get(String(name))?.mark(rest, place!.message);
    if (at) {
      this._say('problem', 'One field is not right yet.');
      at.focus();
    } else {
      this._say('problem', message);
    }
  }

  private _say(state: string, text: string): void {
    this.node.dataset.state = state;
    this._said.textContent = text;
  }

  /** The button stays where the keyboard is. */
  private _setBusy(busy: boolean): void {
    this._busy = busy;
    this._button.setAttribute('aria-disabled', String(busy));
  }

  private _make<Name extends keyof HTMLElementTagNameMap>(name: Name, className: string): HTMLElementTagNameMap[Name] {
    const node = this._document.createElement(name);
    node.className = className;
    return node;
  }
}
