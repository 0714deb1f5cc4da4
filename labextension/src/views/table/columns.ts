/**
 * The columns of a table: what their values are, and how a reader has laid them out.
 *
 * A layout is kept by names, so that it survives new rows, and columns that come and go.
 */

import { isRecord } from '../../records';

/** What the values of a column are; '' is anything. */
export type Kind = '' | 'text' | 'number' | 'integer' | 'int64' | 'boolean' | 'datetime' | 'naive' | 'id' | 'bytes' | 'json';

export type Cells = readonly unknown[];

export interface Column {
  readonly name: string;
  /** Its place in a row. */
  readonly at: number;
  readonly kind: Kind;
  /** The type as SQL names it; '' for results of functions. */
  readonly type: string;
  /** How its values are written, e.g. `,.2f` or `date`; '' is the usual way. */
  readonly format: string;
}

const KINDS: readonly string[] = ['text', 'number', 'integer', 'int64', 'boolean', 'datetime', 'naive', 'id', 'bytes', 'json'];
const INTEGER = /^(?:U?(?:TINY|SMALL|BIG|HUGE)INT|U?INTEGER|BIGNUM|VARINT)$/;
const REAL = /^(?:FLOAT|REAL|DOUBLE|DECIMAL\b.*)$/;
/** Rows that are looked at to see what a column is. */
const SAMPLE = 300;

/** The columns of a result of a function, of which the kernel may say what they are. */
export function columnsOf(
  names: readonly string[],
  kinds: readonly string[] | undefined,
  rows: readonly Cells[],
  formats: Readonly<Record<string, string>> = {},
): Column[] {
  return names.map((name, at) => {
    const said = kinds?.[at] ?? '';
    const kind = KINDS.includes(said) ? (said as Kind) : onlyNumbers(rows, at) ? 'number' : '';
    return { name, at, kind, type: '', format: formatOf(formats, name) };
  });
}

/** The columns of a result of SQL. */
export function columnsOfTypes(
  names: readonly string[],
  types: readonly string[],
  formats: Readonly<Record<string, string>> = {},
): Column[] {
  return names.map((name, at) => {
    const type = types[at] ?? '';
    return { name, at, kind: kindOfType(type), type, format: formatOf(formats, name) };
  });
}

function kindOfType(type: string): Kind {
  if (INTEGER.test(type)) {
    return 'integer';
  }
  if (REAL.test(type)) {
    return 'number';
  }
  if (/^TIMESTAMP WITH TIME ZONE$|^TIMESTAMPTZ$/.test(type)) {
    return 'datetime';
  }
  return type.startsWith('TIMESTAMP') ? 'naive' : type === 'BOOLEAN' ? 'boolean' : type === 'VARCHAR' ? 'text' : '';
}

function onlyNumbers(rows: readonly Cells[], at: number): boolean {
  let given = false;
  for (let i = 0; i < Math.min(rows.length, SAMPLE); i++) {
    const value = rows[i]![at];
    if (typeof value === 'number') {
      given = true;
    } else if (value !== null && value !== undefined) {
      return false;
    }
  }
  return given;
}

function formatOf(formats: Readonly<Record<string, string>>, name: string): string {
  const said = Object.hasOwn(formats, name) ? formats[name] : '';
  return typeof said === 'string' ? said : '';
}

/** What a kernel says of formats, as texts. */
export function readFormats(said: unknown): Record<string, string> {
  const pairs = Object.entries(isRecord(said) ? said : {}).filter(([, format]) => typeof format === 'string');
  return Object.fromEntries(pairs) as Record<string, string>;
}

export function isNumeric({ kind }: Column): boolean {
  return kind === 'number' || kind === 'integer' || kind === 'int64';
}

/** Columns of the system, e.g. `_id`: there when they are looked for, quiet otherwise. */
export function isSystem({ name }: Column): boolean {
  return name.startsWith('_');
}

export function classOf(column: Column): string {
  return [isSystem(column) && 'nbr-system', isNumeric(column) && 'nbr-number'].filter(Boolean).join(' ');
}

export function sameColumns(one: readonly Column[], other: readonly Column[]): boolean {
  return (
    one.length === other.length &&
    one.every((column, i) => {
      const { name, kind, type, format } = other[i]!;
      return column.name === name && column.kind === kind && column.type === type && column.format === format;
    })
  );
}

/** How a reader has laid out the columns. */
export class Layout {
  readonly hidden = new Set<string>();
  /** Widths in pixels, of columns that somebody has drawn wider or narrower. */
  readonly widths = new Map<string, number>();
  private _order: string[] = [];

  /** The columns that are shown, in order; new ones come where the result has them. */
  shown(columns: readonly Column[]): Column[] {
    return this.all(columns).filter(({ name }) => !this.hidden.has(name));
  }

  all(columns: readonly Column[]): Column[] {
    const places = new Map(this._order.map((name, place) => [name, place]));
    let before = -1;
    const placed = columns.map((column, i) => {
      const place = places.get(column.name);
      // One that was never moved stays behind its neighbour
      before = place ?? before + 1e-6;
      return { column, place: this._order.length ? before : i };
    });
    return placed.sort((one, other) => one.place - other.place).map(({ column }) => column);
  }

  /** Put a column to the place of another one. */
  move(columns: readonly Column[], name: string, to: string): void {
    const names = this.all(columns).map(column => column.name);
    const [from, place] = [names.indexOf(name), names.indexOf(to)];
    if (from >= 0 && place >= 0) {
      names.splice(place, 0, ...names.splice(from, 1));
      this._order = names;
    }
  }
}
