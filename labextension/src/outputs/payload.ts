/**
 * Reading the saved display data of a live object.
 *
 * It comes from a notebook file, which anybody may have written: it is checked field by field and capped, and what
 * does not fit is left out rather than trusted.
 */

import type { Args } from '../connection/page';
import { readPlace } from '../connection/storage';
import { isRecord } from '../records';
import type { Layout } from '../views/cells';
import { EMPTY, type LiveState, type TableData } from '../views/table';
import { readFrame, readSource, type Frame, type Source } from '../views/windows';

export const MIME_TYPE = 'application/vnd.nbreactive.live.v1+json';
export const DRAWING_MIME_TYPE = 'application/vnd.nbreactive.drawing.v1+json';
export const WIDGET_MIME_TYPE = 'application/vnd.jupyter.widget-view+json';

const MAX_ROWS = 1_000;
const MAX_COLUMNS = 200;

/** The snapshot in a payload, or null when it is not one this version can read. */
export function readPayload(data: unknown): LiveState | null {
  if (!isRecord(data) || data.v !== 1) {
    return null;
  }
  return {
    ...EMPTY,
    table: readTable(data.table, MAX_ROWS, MAX_COLUMNS),
    status: 'snapshot',
    title: text(data.title) || text(data.path),
    badge: text(data.badge),
    updated: typeof data.renderedAt === 'number' && data.renderedAt > 0 ? data.renderedAt : 0,
    frame: readSavedFrame(data.frame),
  };
}

function readSavedFrame(data: unknown): Frame | null {
  const frame = readFrame(data);
  return (
    frame && {
      ...frame,
      columns: frame.columns.slice(0, MAX_COLUMNS),
      types: frame.types.slice(0, MAX_COLUMNS),
      rows: frame.rows.slice(0, MAX_ROWS),
    }
  );
}

/** Where the rows of a saved output come from: a query by name and arguments, below a mount of the page's own server. */
export type Origin =
  | { readonly mount: string; readonly source: Source }
  | {
      readonly mount: string;
      readonly source: null;
      readonly path: string;
      readonly args: Args;
      readonly layout: Layout;
      /** How many rows a page has, where it is a paginated query; else 0. */
      readonly pageSize: number;
    };

/** What functions are called; of those of the system, only this one is a view. */
const PATH = /^(?!_)[\w./-]{1,200}:\w{1,100}$/;
export const TABLE_ROWS = '_system/tables:rows';

/** Where a page may ask for what is new; null if that is not told. */
export function readOrigin(data: unknown): Origin | null {
  if (!isRecord(data) || data.v !== 1) {
    return null;
  }
  const { mount } = readPlace(data.place);
  const source = readSource(data.path, data.args);
  if (!mount || source !== null) {
    return mount && source ? { mount, source } : null;
  }
  const { path, args } = data;
  if (typeof path !== 'string' || !isRecord(args) || !(PATH.test(path) || path === TABLE_ROWS)) {
    return null;
  }
  const size = data.pageSize;
  return {
    mount,
    source,
    path,
    args: args as Args,
    layout: { columns: list(data.columns).slice(0, MAX_COLUMNS).filter(isText), kinds: readKinds(data.kinds) },
    pageSize: typeof size === 'number' && Number.isInteger(size) ? Math.min(Math.max(size, 0), MAX_ROWS) : 0,
  };
}

function isText(value: unknown): value is string {
  return typeof value === 'string';
}

function readKinds(said: unknown): Record<string, string> {
  const pairs = Object.entries(isRecord(said) ? said : {}).slice(0, MAX_COLUMNS);
  return Object.fromEntries(pairs.filter((pair): pair is [string, string] => isText(pair[1])));
}

/** Whether the rows depend on who looks, so that none are saved. */
export function readPersonal(data: unknown): boolean {
  return isRecord(data) && data.personal === true;
}

/** How a drawing stands. */
export interface Drawing {
  /** Counts the drawings of one output: an equal number is the same drawing in another state. */
  number: number;
  /** Id of the kernel that drew it. */
  kernel: string;
  /** Its display id, by which a page that was loaded later knows the updates. */
  id: string;
  /** Something that the kernel has as long as it is not restarted (a comm). */
  beacon: string;
  status: string;
  message: string;
  dimmed: boolean;
  updated: number;
}

/** The state beside a drawing; what cannot be read is as if it was not said. */
export function readDrawing(data: unknown): Drawing {
  const said = isRecord(data) && data.v === 1 ? data : {};
  return {
    number: typeof said.number === 'number' ? said.number : 0,
    kernel: text(said.kernel),
    id: text(said.id),
    beacon: text(said.beacon),
    status: text(said.status),
    message: text(said.message),
    dimmed: said.dimmed === true,
    updated: typeof said.renderedAt === 'number' && said.renderedAt > 0 ? said.renderedAt : 0,
  };
}

/** A table from unchecked data (a payload, or the trait of a widget, whose kernel has its own setting of how many). */
export function readTable(data: unknown, maxRows = Infinity, maxColumns = Infinity): TableData {
  if (!isRecord(data)) {
    return EMPTY.table;
  }
  const columns = list(data.columns).slice(0, maxColumns).map(String);
  const rows = list(data.rows)
    .slice(0, maxRows)
    .map(row => list(row).slice(0, columns.length));
  const total = typeof data.total === 'number' && Number.isFinite(data.total) ? data.total : rows.length;
  return { columns, rows, total: Math.max(total, rows.length), ...(data.document === true && { document: true }) };
}

function list(value: unknown): unknown[] {
  return Array.isArray(value) ? value : [];
}

function text(value: unknown): string {
  return typeof value === 'string' ? value.slice(0, 500) : '';
}
