/** Fields with fields inside: objects, arrays, records, unions, and what can only be one thing. */

import type { Json } from '../connection/page';
import { isRecord } from '../records';
import { makeField, problemNode, type Field, type Making, type Spot, type Step } from './form_fields';
import { describe, expected, fits, labelOf, missing, type Entry, type Shape } from './form_values';

const MOST_ITEMS = 200;

export function compositeField(making: Making, spot: Spot, shape: Shape): Field {
  switch (shape.kind) {
    case 'object':
      return new ObjectField(making, spot, shape.fields);
    case 'array':
      return new ListField(making, spot, place => makeField(making, place, shape.item), false);
    case 'record':
      return new ListField(making, spot, place => new PairField(making, place, shape.keys, shape.values), true);
    case 'union':
      return new UnionField(making, spot, shape);
    case 'literal':
      return new ConstantField(making, spot, shape.value);
    default:
      return new ConstantField(making, spot, null);
  }
}

/** A group with a name; one that may be left out has a box to tick. */
abstract class Group implements Field {
  readonly node: HTMLFieldSetElement;
  protected readonly _body: HTMLElement;
  protected readonly _problem: HTMLElement;
  private readonly _given: HTMLInputElement | null;

  constructor(
    protected readonly _making: Making,
    protected readonly _spot: Spot,
  ) {
    const { document } = _making;
    this.node = document.createElement('fieldset');
    this.node.className = 'nbr-group';
    this._body = document.createElement('div');
    this._body.className = 'nbr-group-body';
    this._problem = problemNode(_making);
    const legend = document.createElement('legend');
    if (_spot.optional) {
      const label = document.createElement('label');
      const given = (this._given = document.createElement('input'));
      given.type = 'checkbox';
      given.addEventListener('change', () => (this._body.hidden = !given.checked));
      label.append(given, ` ${_spot.label}`);
      const note = document.createElement('span');
      note.className = 'nbr-optional';
      note.textContent = ' optional';
      label.append(note);
      legend.append(label);
      this._body.hidden = true;
    } else {
      this._given = null;
      legend.textContent = _spot.label;
    }
    this.node.append(legend, this._body, this._problem);
  }

  read(wrong: (at: HTMLElement) => void): Json | undefined {
    return this._given !== null && !this._given.checked ? undefined : this._read(wrong);
  }

  write(value: Json | undefined): void {
    if (this._given !== null) {
      this._given.checked = value !== undefined;
      this._body.hidden = value === undefined;
    }
    this._write(value);
  }

  mark(steps: readonly Step[], message: string): HTMLElement | null {
    const inside = steps.length > 0 ? this._markInside(steps, message) : null;
    if (inside !== null) {
      return inside;
    }
    this._problem.textContent = message;
    this._problem.hidden = false;
    return this.node.querySelector<HTMLElement>('input, select, textarea, button');
  }

  clear(): void {
    this._problem.hidden = true;
    this._problem.textContent = '';
    this._clear();
  }

  protected abstract _read(wrong: (at: HTMLElement) => void): Json | undefined;
  protected abstract _write(value: Json | undefined): void;
  protected abstract _markInside(steps: readonly Step[], message: string): HTMLElement | null;
  protected abstract _clear(): void;
}

class ObjectField extends Group {
  private readonly _fields: ReadonlyMap<string, Field>;

  constructor(making: Making, spot: Spot, entries: readonly Entry[]) {
    super(making, spot);
    this._fields = fieldsOf(making, entries, spot.path);
    this._body.append(...[...this._fields.values()].map(({ node }) => node));
  }

  protected _read(wrong: (at: HTMLElement) => void): Json {
    return readFields(this._fields, wrong);
  }

  protected _write(value: Json | undefined): void {
    writeFields(this._fields, value);
  }

  protected _markInside([name, ...rest]: readonly Step[], message: string): HTMLElement | null {
    return this._fields.get(String(name))?.mark(rest, message) ?? null;
  }

  protected _clear(): void {
    this._fields.forEach(field => field.clear());
  }
}

/** The fields of an object, or of all arguments. */
export function fieldsOf(making: Making, entries: readonly Entry[], path = ''): Map<string, Field> {
  return new Map(
    entries.map(({ name, shape, optional }) => {
      const whole = path === '' ? name : `${path}.${name}`;
      const label = making.labels[whole] ?? labelOf(name);
      return [name, makeField(making, { label, path: whole, optional }, shape)];
    }),
  );
}

export function readFields(fields: ReadonlyMap<string, Field>, wrong: (at: HTMLElement) => void): Record<string, Json> {
  const values: Record<string, Json> = {};
  fields.forEach((field, name) => {
    const value = field.read(wrong);
    if (value !== undefined) {
      values[name] = value;
    }
  });
  return values;
}

export function writeFields(fields: ReadonlyMap<string, Field>, value: Json | undefined): void {
  const given = isRecord(value) ? value : {};
  fields.forEach((field, name) => field.write(given[name] as Json | undefined));
}

/** A key and its value, which are told as `[key, value]`. */
class PairField implements Field {
  readonly node: HTMLElement;
  private readonly _key: Field;
  private readonly _value: Field;

  constructor(making: Making, spot: Spot, keys: Shape, values: Shape) {
    this.node = making.document.createElement('div');
    this.node.className = 'nbr-pair';
    this._key = makeField(making, { ...spot, label: 'Key' }, keys);
    this._value = makeField(making, { ...spot, label: 'Value' }, values);
    this.node.append(this._key.node, this._value.node);
  }

  read(wrong: (at: HTMLElement) => void): Json | undefined {
    const key = this._key.read(wrong);
    const value = this._value.read(wrong);
    return key === undefined || value === undefined ? undefined : [key, value];
  }

  write(value: Json | undefined): void {
    const [key, inner] = Array.isArray(value) ? value : [undefined, undefined];
    this._key.write(key);
    this._value.write(inner);
  }

  mark(steps: readonly Step[], message: string): HTMLElement | null {
    return this._value.mark(steps, message);
  }

  clear(): void {
    this._key.clear();
    this._value.clear();
  }
}

/** Any number of parts, with buttons that add one and take one away. */
class ListField extends Group {
  private _parts: { part: Field; row: HTMLElement }[] = [];
  private _made = 0;
  private readonly _list: HTMLElement;
  private readonly _add: HTMLButtonElement;

  constructor(
    making: Making,
    spot: Spot,
    private readonly _make: (spot: Spot) => Field,
    private readonly _pairs: boolean,
  ) {
    super(making, spot);
    const { document } = making;
    this._list = document.createElement('div');
    this._add = document.createElement('button');
    this._add.type = 'button';
    this._add.className = 'nbr-add';
    this._add.textContent = 'Add';
    this._add.setAttribute('aria-label', `Add to ${spot.label}`);
    this._add.addEventListener('click', () => {
      const { row } = this._append();
      row.querySelector<HTMLElement>('input, select, textarea, button')?.focus();
    });
    this._body.append(this._list, this._add);
  }

  private _append(): { part: Field; row: HTMLElement } {
    const { document } = this._making;
    const label = `${this._spot.label} ${++this._made}`;
    const part = this._make({ label, path: this._spot.path, optional: false });
    const row = document.createElement('div');
    row.className = 'nbr-item';
    const remove = document.createElement('button');
    remove.type = 'button';
    remove.className = 'nbr-remove';
    remove.textContent = '×';
    remove.setAttribute('aria-label', `Remove ${label}`);
    remove.addEventListener('click', () => {
      row.remove();
      this._parts = this._parts.filter(each => each.row !== row);
      this._add.focus();
    });
    row.append(part.node, remove);
    this._list.append(row);
    const added = { part, row };
    this._parts.push(added);
    return added;
  }

  protected _read(wrong: (at: HTMLElement) => void): Json {
    const values = this._parts.map(({ part }) => part.read(wrong)).filter(value => value !== undefined);
    return this._pairs ? Object.fromEntries(values as [string, Json][]) : values;
  }

  protected _write(value: Json | undefined): void {
    const values: Json[] = Array.isArray(value) ? value : isRecord(value) ? (Object.entries(value) as Json[]) : [];
    this._parts = [];
    this._made = 0;
    this._list.replaceChildren();
    values.slice(0, MOST_ITEMS).forEach(each => this._append().part.write(each));
  }

  protected _markInside([at, ...rest]: readonly Step[], message: string): HTMLElement | null {
    const index = this._pairs ? Object.keys(this._read(() => undefined) as object).indexOf(String(at)) : Number(at);
    return this._parts[index]?.part.mark(rest, message) ?? null;
  }

  protected _clear(): void {
    this._parts.forEach(({ part }) => part.clear());
  }
}

/** One of several kinds of values, which is chosen first. */
class UnionField extends Group {
  private readonly _choice: HTMLSelectElement;
  private readonly _members: readonly Field[];

  constructor(
    making: Making,
    spot: Spot,
    private readonly _shape: Shape & { kind: 'union' },
  ) {
    super(making, spot);
    const choice = (this._choice = making.document.createElement('select'));
    choice.setAttribute('aria-label', `Kind of ${spot.label}`);
    this._members = _shape.members.map((member, at) => {
      const option = making.document.createElement('option');
      option.value = String(at);
      option.textContent = member.kind === 'null' ? 'none' : expected(member);
      choice.append(option);
      return makeField(making, { ...spot, optional: false }, member);
    });
    choice.addEventListener('change', () => this._show());
    this._body.append(choice, ...this._members.map(({ node }) => node));
    this._show();
  }

  private _show(): void {
    this._members.forEach(({ node }, at) => {
      node.hidden = String(at) !== this._choice.value || this._shape.members[at]!.kind === 'null';
    });
  }

  private get _chosen(): Field | undefined {
    return this._members[Number(this._choice.value)];
  }

  protected _read(wrong: (at: HTMLElement) => void): Json | undefined {
    if (this._chosen === undefined) {
      wrong(this.mark([], missing(this._shape)) ?? this.node);
      return undefined;
    }
    return this._chosen.read(wrong);
  }

  protected _write(value: Json | undefined): void {
    const at = value === undefined ? 0 : this._shape.members.findIndex(member => fits(member, value));
    this._choice.value = String(Math.max(at, 0));
    this._members.forEach((member, each) => member.write(each === at ? value : undefined));
    this._show();
  }

  protected _markInside(steps: readonly Step[], message: string): HTMLElement | null {
    return this._chosen?.mark(steps, message) ?? null;
  }

  protected _clear(): void {
    this._members.forEach(member => member.clear());
  }
}

/** There is nothing to choose. */
class ConstantField extends Group {
  constructor(
    making: Making,
    spot: Spot,
    private readonly _value: Json,
  ) {
    super(making, spot);
    this._body.textContent = `always ${typeof _value === 'string' ? _value : describe(_value).replace(/^the \w+ /, '')}`;
  }

  protected _read(): Json {
    return this._value;
  }

  protected _write(): void {}

  protected _markInside(): null {
    return null;
  }

  protected _clear(): void {}
}
