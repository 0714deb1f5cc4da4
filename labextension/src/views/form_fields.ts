/**
 * The fields of a form, one for each kind of validator. Fields of objects, arrays and unions have fields inside.
 *
 * A field reads what was typed, marks itself where that is wrong, and passes on what the server says of its parts.
 */

import type { Json } from '../connection/page';
import { isRecord } from '../records';
import { compositeField } from './form_composites';
import { describe, expected, missing, readText, writeText, type Shape, type TextKind } from './form_values';

export type Step = string | number;

export interface Field {
  readonly node: HTMLElement;
  /** The value; undefined if it is left out, or wrong: then the field is marked, and `wrong` told. */
  read(wrong: (at: HTMLElement) => void): Json | undefined;
  write(value: Json | undefined): void;
  /** Say what is wrong with the part that the steps lead to; the control to go to, null if there is no such part. */
  mark(steps: readonly Step[], message: string): HTMLElement | null;
  clear(): void;
}

/** What all fields of a form share. */
export interface Making {
  readonly document: Document;
  /** Names for paths such as `address.city`. */
  readonly labels: Readonly<Record<string, string>>;
  /** Paths of texts that have several lines. */
  readonly multiline: readonly string[];
  /** Paths of texts that may stay empty. */
  readonly blank: readonly string[];
  readonly id: () => string;
}

/** A place for a field. */
export interface Spot {
  readonly label: string;
  /** Names from the argument on, without indexes. */
  readonly path: string;
  readonly optional: boolean;
}

/** Files of more bytes than a value may have are not read at all. */
const MAX_BYTES = 1 << 20;
const TEXTS = new Set(['string', 'number', 'integer', 'int64', 'datetime', 'any', 'id']);

export function makeField(making: Making, spot: Spot, shape: Shape): Field {
  if (isText(shape)) {
    return new TextField(making, spot, shape, shape, false);
  }
  switch (shape.kind) {
    case 'boolean':
      return spot.optional ? new ChoiceField(making, spot, shape, [true, false]) : new CheckField(making, spot);
    case 'bytes':
      return new FileField(making, spot, shape);
    case 'union': {
      const rest = shape.members.filter(member => member.kind !== 'null');
      const nullable = rest.length < shape.members.length;
      if (rest.length > 0 && rest.every(member => member.kind === 'literal' || member.kind === 'boolean')) {
        const values = rest.flatMap(member => (member.kind === 'literal' ? [member.value] : [true, false]));
        return new ChoiceField(making, spot, shape, nullable ? [...values, null] : values);
      }
      // a field that is left empty is null
      return nullable && rest.length === 1 && isText(rest[0]!) && rest[0].kind !== 'any'
        ? new TextField(making, spot, rest[0], shape, true)
        : compositeField(making, spot, shape);
    }
    default:
      return compositeField(making, spot, shape);
  }
}

function isText(shape: Shape): shape is Shape & { kind: TextKind | 'id' } {
  return TEXTS.has(shape.kind);
}

/** A control with a label before it and a place for what is wrong behind it. */
abstract class Leaf<Control extends HTMLElement> implements Field {
  readonly node: HTMLElement;
  protected readonly _problem: HTMLElement;

  constructor(
    making: Making,
    protected readonly _spot: Spot,
    protected readonly _control: Control,
  ) {
    const { document } = making;
    this.node = document.createElement('div');
    this.node.className = 'nbr-field';
    const label = document.createElement('label');
    label.htmlFor = _control.id = making.id();
    label.textContent = _spot.label;
    if (_spot.optional) {
      const note = document.createElement('span');
      note.className = 'nbr-optional';
      note.textContent = ' optional';
      label.append(note);
    } else {
      _control.setAttribute('aria-required', 'true');
    }
    this._problem = problemNode(making);
    _control.setAttribute('aria-describedby', this._problem.id);
    this.node.append(label, _control, this._problem);
    _control.addEventListener('input', () => this.clear());
    _control.addEventListener('change', () => this.clear());
  }

  abstract read(wrong: (at: HTMLElement) => void): Json | undefined;
  abstract write(value: Json | undefined): void;

  mark(_steps: readonly Step[], message: string): HTMLElement {
    this._problem.textContent = message;
    this._problem.hidden = false;
    this._control.setAttribute('aria-invalid', 'true');
    return this._control;
  }

  clear(): void {
    this._problem.hidden = true;
    this._problem.textContent = '';
    this._control.removeAttribute('aria-invalid');
  }

  protected _wrong(wrong: (at: HTMLElement) => void, message: string): undefined {
    wrong(this.mark([], message));
    return undefined;
  }
}

export function problemNode(making: Making): HTMLElement {
  const node = making.document.createElement('div');
  node.className = 'nbr-problem';
  node.id = making.id();
  node.hidden = true;
  return node;
}

class TextField extends Leaf<HTMLInputElement | HTMLTextAreaElement> {
  private readonly _blank: boolean;

  constructor(
    making: Making,
    spot: Spot,
    private readonly _shape: Shape,
    private readonly _whole: Shape,
    private readonly _nullable: boolean,
  ) {
    const lines = _shape.kind === 'any' || making.multiline.includes(spot.path);
    const control = making.document.createElement(lines ? 'textarea' : 'input');
    if (control.tagName === 'INPUT') {
      (control as HTMLInputElement).type = _shape.kind === 'datetime' ? 'datetime-local' : 'text';
      (control as HTMLInputElement).step = '1';
    } else {
      (control as HTMLTextAreaElement).rows = 3;
    }
    control.autocomplete = 'off';
    control.inputMode = _shape.kind === 'number' ? 'decimal' : ['integer', 'int64'].includes(_shape.kind) ? 'numeric' : '';
    control.placeholder = _shape.kind === 'id' ? `id of ${_shape.table}` : _shape.kind === 'any' ? 'JSON' : '';
    super(making, spot, control);
    this._blank = making.blank.includes(spot.path);
  }

  read(wrong: (at: HTMLElement) => void): Json | undefined {
    const text = this._control.value;
    if (this._control.validity?.badInput) {
      return this._wrong(wrong, `expected ${expected(this._shape)}`); // a date of which parts are missing
    }
    if (text === '' || (text.trim() === '' && this._shape.kind !== 'string')) {
      if (this._spot.optional) {
        return undefined;
      }
      if (this._nullable) {
        return null;
      }
      return this._blank && this._shape.kind === 'string' ? '' : this._wrong(wrong, missing(this._whole));
    }
    const reading = readText(this._shape, text);
    return 'problem' in reading ? this._wrong(wrong, reading.problem) : reading.value;
  }

  write(value: Json | undefined): void {
    this._control.value = value === undefined || (value === null && this._shape.kind !== 'any') ? '' : writeText(this._shape, value);
  }
}

/** A boolean that has to be given: it is there, or not. */
class CheckField extends Leaf<HTMLInputElement> {
  constructor(making: Making, spot: Spot) {
    const control = making.document.createElement('input');
    control.type = 'checkbox';
    super(making, spot, control);
    control.removeAttribute('aria-required'); // unticked is an answer
    this.node.classList.add('nbr-check');
  }

  read(): Json {
    return this._control.checked;
  }

  write(value: Json | undefined): void {
    this._control.checked = value === true;
  }
}

const NAMES = new Map<Json, string>([
  [true, 'yes'],
  [false, 'no'],
  [null, 'none'],
]);

/** One of a few values. */
class ChoiceField extends Leaf<HTMLSelectElement> {
  constructor(
    making: Making,
    spot: Spot,
    private readonly _shape: Shape,
    private readonly _values: readonly Json[],
  ) {
    const control = making.document.createElement('select');
    const add = (value: string, text: string) => {
      const option = making.document.createElement('option');
      option.value = value;
      option.textContent = text;
      control.append(option);
    };
    add('', spot.optional ? '' : 'Choose…');
    _values.forEach((value, at) => add(String(at), NAMES.get(value) ?? (typeof value === 'string' ? value : describe(value).replace(/^the \w+ /, ''))));
    super(making, spot, control);
  }

  read(wrong: (at: HTMLElement) => void): Json | undefined {
    const chosen = this._control.value;
    if (chosen === '') {
      return this._spot.optional ? undefined : this._wrong(wrong, missing(this._shape));
    }
    return this._values[Number(chosen)];
  }

  write(value: Json | undefined): void {
    const at = this._values.findIndex(each => JSON.stringify(each) === JSON.stringify(value));
    this._control.value = at < 0 ? '' : String(at);
  }
}

/** Bytes are the content of a file. */
class FileField extends Leaf<HTMLInputElement> {
  private _content: string | null = null;
  private _problemText = '';

  constructor(
    making: Making,
    spot: Spot,
    private readonly _shape: Shape,
  ) {
    const control = making.document.createElement('input');
    control.type = 'file';
    super(making, spot, control);
    control.addEventListener('change', () => void this._load(control.files?.[0]));
  }

  private async _load(file: File | undefined): Promise<void> {
    this._content = null;
    this._problemText = '';
    if (file === undefined) {
      return;
    }
    if (file.size > MAX_BYTES) {
      this._problemText = `${file.name} has ${file.size.toLocaleString('en')} bytes; a value has at most ${MAX_BYTES.toLocaleString('en')}: use FileUpload for larger files`;
      this.mark([], this._problemText);
      return;
    }
    this._problemText = 'is still being read';
    const bytes = new Uint8Array(await file.arrayBuffer());
    let text = '';
    bytes.forEach(byte => (text += String.fromCharCode(byte)));
    if (this._control.files?.[0] === file) {
      this._content = btoa(text);
      this._problemText = '';
    }
  }

  read(wrong: (at: HTMLElement) => void): Json | undefined {
    if (this._problemText !== '') {
      return this._wrong(wrong, this._problemText);
    }
    if (this._content === null) {
      return this._spot.optional ? undefined : this._wrong(wrong, missing(this._shape));
    }
    return { $bytes: this._content };
  }

  /** A page cannot fill in a file that somebody has; the bytes of an initial value are sent if none is chosen. */
  write(value: Json | undefined): void {
    this._control.value = '';
    this._problemText = '';
    this._content = isRecord(value) && typeof value.$bytes === 'string' ? value.$bytes : null;
  }
}
