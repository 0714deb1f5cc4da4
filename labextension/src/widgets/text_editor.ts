/**
 * `nbreactive.TextEditor` as an anywidget: the page loads, saves and shows its caret to others as whoever looks at it; where it has
 * no way to the backend, the kernel does.
 */

import type { AnyModel, RenderProps } from '@anywidget/types';
import { backendFor, Relay } from '../connection/calling';
import type { Args, Backend, Json } from '../connection/page';
import { TextSync } from '../connection/text_sync';
import { isRecord } from '../records';
import { Editor, type EditorOptions } from '../views/editor';

export interface EditorModel extends Record<string, unknown> {
  /** Paths of the functions. */
  load: string;
  save: string;
  history: string;
  /** Which document: arguments of all of them. */
  args: Args;
  options: unknown;
  room: string;
  place: unknown;
  /** What is stored, who is there and what was, from the kernel, for pages that cannot ask. */
  document: unknown;
  people: unknown;
  edits: unknown;
}

/** What an editor needs of the world. */
interface Link {
  save(args: Args): Promise<Json>;
  /** Tell others where the caret is. */
  cursor(from: number, to: number): void;
  history(open: boolean): void;
  close(): void;
}

interface Heard {
  stored(document: unknown): void;
  people(people: unknown, mine: string): void;
  edits(edits: unknown): void;
  trouble(said: string): void;
}

const HEARTBEAT = 5_000;
/** Milliseconds between two places of a moving caret that others are told. */
const STEP = 80;

function linkOver(backend: Backend, model: AnyModel<EditorModel>, heard: Heard): Link {
  const room = model.get('room');
  const session = Array.from(crypto.getRandomValues(new Uint8Array(16)), byte => byte.toString(16).padStart(2, '0')).join('');
  const presence = (what: string, more: Args = {}) =>
    backend.mutate(`nbreactive/presence:${what}`, { room, session, ...more }).catch(() => null);
  let mine = '';
  let data: Json = null;
  let people: Json = [];
  let step: ReturnType<typeof setTimeout> | undefined;
  let stopHistory: (() => void) | null = null;
  const quiet = { failed: () => undefined, linked: () => undefined };
  const stops = [
    backend.follow(model.get('load'), model.get('args'), {
      value: value => heard.stored(value),
      failed: message => heard.trouble(message),
      linked: open => heard.trouble(open ? '' : 'reconnecting…'),
    }),
  ];
  if (room !== '') {
    stops.push(
      backend.follow('nbreactive/presence:list', { room }, {
        ...quiet,
        value: value => {
          people = value;
          heard.people(people, mine);
        },
      }),
    );
    void presence('join', { data }).then(joined => {
      mine = isRecord(joined) ? String(joined.session) : '';
      heard.people(people, mine);
    });
    const beat = setInterval(() => void presence('heartbeat', { data }), HEARTBEAT);
    stops.push(() => clearInterval(beat));
  }
  return {
    save: args => backend.mutate(model.get('save'), args),
    cursor: (from, to) => {
      const next = { at: [from, to] };
      if (room === '' || JSON.stringify(next) === JSON.stringify(data)) {
        return;
      }
      data = next;
      step ??= setTimeout(() => {
        step = undefined;
        void presence('heartbeat', { data });
      }, STEP);
    },
    history: open => {
      stopHistory?.();
      stopHistory = open
        ? backend.follow(model.get('history'), model.get('args'), { ...quiet, value: value => heard.edits(value) })
        : null;
    },
    close: () => {
      clearTimeout(step);
      stopHistory?.();
      stops.forEach(stop => stop());
      if (room !== '') {
        void presence('leave');
      }
    },
  };
}

function linkByKernel(model: AnyModel<EditorModel>, heard: Heard): Link {
  const relay = new Relay<EditorModel>(model);
  const listeners: [string, () => void][] = [
    ['change:document', () => heard.stored(model.get('document'))],
    ['change:people', () => heard.people(isRecord(model.get('people')) ? (model.get('people') as { list: unknown }).list : [], mine())],
    ['change:edits', () => heard.edits(model.get('edits'))],
  ];
  const mine = () => {
    const people = model.get('people');
    return isRecord(people) ? String(people.mine) : '';
  };
  let step: ReturnType<typeof setTimeout> | undefined;
  let at: number[] = [];
  listeners.forEach(([event, listener]) => model.on(event as `change:document`, listener));
  model.send({ type: 'relay', open: true });
  listeners.forEach(([, listener]) => listener());
  return {
    save: args => relay.call({ args }),
    cursor: (from, to) => {
      at = [from, to];
      step ??= setTimeout(() => {
        step = undefined;
        model.send({ type: 'cursor', at });
      }, STEP);
    },
    history: open => model.send({ type: 'history', open }),
    close: () => {
      clearTimeout(step);
      listeners.forEach(([event, listener]) => model.off(event as `change:document`, listener));
      model.send({ type: 'relay', open: false });
      relay.close();
    },
  };
}

function readOptions(model: AnyModel<EditorModel>): EditorOptions {
  const options = isRecord(model.get('options')) ? (model.get('options') as Record<string, unknown>) : {};
  const text = (name: string, otherwise: string) => (typeof options[name] === 'string' ? (options[name] as string) : otherwise);
  return {
    label: text('label', 'Text'),
    rows: typeof options.rows === 'number' ? options.rows : 16,
    hasHistory: model.get('history') !== '',
    field: text('field', 'content'),
    version: text('version', 'version'),
    author: text('author', 'author'),
  };
}

export default () => {
  let views = 0;

  function render({ model, el, signal }: RenderProps<EditorModel>): void {
    const options = readOptions(model);
    const editor = new Editor(el.ownerDocument, options, {
      typed: text => sync.typed(text),
      composing: yes => sync.hold(yes),
      moved: (from, to) => link.cursor(from, to),
      resolve: mine => sync.resolve(mine),
      save: () => sync.flush(),
      history: open => link.history(open),
    });
    const sync = new TextSync({ text: (text, from) => editor.show(text, from), state: state => editor.state(state) }, (text, version) =>
      link.save({ ...model.get('args'), [options.field]: text, [options.version]: version }),
    );
    const heard: Heard = {
      stored: document => {
        if (!isRecord(document) || Object.keys(document).length === 0) {
          if (document === null) {
            editor.trouble('there is no such document');
          }
          return;
        }
        const { [options.field]: text, [options.version]: version } = document;
        sync.stored({ text: typeof text === 'string' ? text : '', version: typeof version === 'number' ? version : 0 });
      },
      people: (people, mine) => editor.people(people, mine),
      edits: edits => editor.edits(edits),
      trouble: said => {
        editor.trouble(said);
        if (said === '') {
          sync.tell();
        }
      },
    };
    const backend = backendFor(model.get('place'));
    const link: Link = backend === null ? linkByKernel(model, heard) : linkOver(backend, model, heard);
    el.append(editor.node);
    model.send({ type: 'views', count: ++views });
    signal.addEventListener('abort', () => {
      sync.close();
      link.close();
      editor.node.remove();
      model.send({ type: 'views', count: --views });
    });
  }

  return { render };
};
