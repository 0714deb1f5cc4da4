/**
 * The live table as an anywidget: the kernel's client sets traits, this paints them.
 *
 * The default export is a function, called once per model, so that each model counts its own views; the kernel hears
 * of the count, and lets go of a query that nobody looks at.
 */

import type { AnyModel, RenderProps } from '@anywidget/types';
import { backendOf } from '../connection/page';
import { isRecord } from '../records';
import { readPlace } from '../connection/storage';
import { EMPTY, LiveTable, type LiveState, type More, type Status, type TableData } from '../views/table';
import { readOptions, type Options } from '../views/table/state';
import { Thumbnails } from '../views/thumbnails';
import { fetchOver, readFrame, readSource, Windows, type Fetch, type Shown } from '../views/windows';
import { Editing } from './table_edit';
import { TableRows } from './table_rows';

export interface LiveModel extends Record<string, unknown> {
  /** All rows; changes of them come as messages. */
  table: unknown;
  status: Status;
  message: string;
  title: string;
  badge: string;
  dimmed: boolean;
  updated: number;
  more: string;
  /** Where stored files are. */
  files: unknown;
  /** The first rows of a result of SQL; empty for other results. */
  frame: unknown;
  /** The statement and its parameters, where it has more rows than that; else empty. */
  source: unknown;
  /** A window of it, from the kernel, for pages that cannot ask themselves. */
  window: unknown;
  /** What may be done with the table. */
  options: unknown;
  /** The rows that are selected: their ids, or where they stand in the result. */
  selected: unknown;
}

const TRAITS: string[] = [
  'status',
  'message',
  'title',
  'badge',
  'dimmed',
  'updated',
  'more',
  'frame',
  'source',
  'options',
  'selected',
];

export function readModel(model: Pick<AnyModel<LiveModel>, 'get'>, table: TableData, options: Options): LiveState {
  return {
    ...EMPTY,
    options,
    frame: readFrame(model.get('frame')),
    table,
    status: model.get('status'),
    message: model.get('message'),
    title: model.get('title'),
    badge: model.get('badge'),
    dimmed: model.get('dimmed'),
    updated: model.get('updated'),
    more: readMore(model.get('more')),
  };
}

/** What the kernel says of a result, and the window of it that this page looks at. */
function withWindow(state: LiveState, shown: Shown | null): LiveState {
  if (shown === null || state.frame === null) {
    return state;
  }
  return {
    ...state,
    window: shown.frame,
    message: state.message || shown.message,
    status: state.status === 'live' && !shown.open ? 'reconnecting' : state.status,
  };
}

/** How this page gets windows: by itself below its own Jupyter server (also while the kernel works), else by the kernel. */
function fetchFor(model: AnyModel<LiveModel>): Fetch {
  const backend = backendOf(readPlace(model.get('files')).mount);
  return backend !== null ? fetchOver(backend) : fetchFrom(model);
}

function fetchFrom(model: AnyModel<LiveModel>): Fetch {
  return (_source, offset, limit, heard) => {
    const changed = () => {
      const said = record(model.get('window'));
      const frame = readFrame(said);
      if (frame !== null && said.offset === offset && said.limit === limit) {
        heard.frame(frame);
      }
    };
    model.on('change:window', changed);
    model.send({ type: 'window', offset, limit });
    return () => model.off('change:window', changed);
  };
}

function record(said: unknown): Record<string, unknown> {
  return typeof said === 'object' && said !== null ? (said as Record<string, unknown>) : {};
}

function readMore(said: unknown): More {
  return said === 'more' || said === 'loading' ? said : '';
}

export default () => {
  let views = 0;
  const rows = new TableRows();
  const repaint = new Set<() => void>();
  let known = false;
  let asked = false;

  /** Follow the rows of a model, once for all its views. */
  function follow(model: AnyModel<LiveModel>): void {
    if (known) {
      return;
    }
    known = true;
    const whole = () => {
      asked = false;
      rows.whole(model.get('table'));
      repaint.forEach(work => work());
    };
    whole();
    model.on('change:table', whole);
    model.on('msg:custom', (said: unknown) => {
      if (!isRecord(said) || said.type !== 'rows') {
        return;
      }
      if (rows.change(said)) {
        repaint.forEach(work => work());
      } else if (!asked) {
        asked = true; // something got lost
        model.send({ type: 'again' });
      }
    });
  }

  function initialize({ model }: { model: AnyModel<LiveModel> }): void {
    follow(model);
  }

  function render({ model, el, signal }: RenderProps<LiveModel>): void {
    follow(model);
    const thumbnails = new Thumbnails(el.ownerDocument, () => readPlace(model.get('files')));
    const editing = new Editing(model);
    let shown: Shown | null = null;
    let options = readOptions(model.get('options'), model.get('selected'));
    const windows = new Windows(fetchFor(model), now => {
      shown = now;
      later();
    });
    const view = new LiveTable(el.ownerDocument, {
      loadMore: () => model.send({ type: 'more' }),
      thumbnails,
      want: (offset, limit) => windows.want(offset, limit),
      selected: keys => {
        model.set('selected', keys);
        model.save_changes();
      },
      edit: (document, field, value) => editing.send(document, field, value),
    });
    const paint = () => {
      const { path, args } = record(model.get('source'));
      windows.aim(readSource(path, args));
      view.update(withWindow(readModel(model, rows.table, options), shown));
    };
    let waiting = false;
    // One message of the kernel may change several traits: paint once, when all of them are set.
    const later = () => {
      if (!waiting) {
        waiting = true;
        queueMicrotask(() => {
          waiting = false;
          if (!signal.aborted) {
            paint();
          }
        });
      }
    };
    const chosen = () => {
      options = readOptions(model.get('options'), model.get('selected'));
    };
    model.on('change:options', chosen);
    model.on('change:selected', chosen);
    paint();
    el.append(view.node);
    repaint.add(later);
    for (const trait of TRAITS) {
      model.on(`change:${trait}`, later);
    }
    model.send({ type: 'views', count: ++views, version: rows.version });
    signal.addEventListener('abort', () => {
      for (const trait of TRAITS) {
        model.off(`change:${trait}`, later);
      }
      model.off('change:options', chosen);
      model.off('change:selected', chosen);
      repaint.delete(later);
      view.node.remove();
      windows.close();
      editing.close();
      thumbnails.dispose();
      model.send({ type: 'views', count: --views });
    });
  }

  return { initialize, render };
};
