import type { IRenderMimeRegistry } from '@jupyterlab/rendermime';
import type { IRenderMime } from '@jupyterlab/rendermime-interfaces';
import { Widget } from '@lumino/widgets';
import { expect, test, vi } from 'vitest';
import { DrawingOutput } from '../../src/outputs/drawing';
import { DRAWING_MIME_TYPE } from '../../src/outputs/payload';
import type { Host, KernelMessage } from '../../src/outputs/renderer';

/** A renderer that draws text, when it is let. */
class Painter extends Widget {
  static gates: (() => void)[] | null = null;
  async renderModel(model: { data: Record<string, unknown> }) {
    if (Painter.gates) {
      await new Promise<void>(go => Painter.gates!.push(go));
    }
    this.node.textContent = String(model.data['text/plain']);
  }
}

const asked: string[] = [];
const registry = {
  preferredMimeType: (data: object, safe: string) => (asked.push(safe), Object.keys(data)[0]),
  createRenderer: () => new Painter(),
} as unknown as IRenderMimeRegistry;

class Around implements Host {
  id = 'k';
  trouble = '';
  ended = false;
  change = () => {};
  publish: (message: KernelMessage) => void = () => {};
  told: [string, object][] = [];
  widgetFactory = () => null;
  createWidgetView = () => new Painter() as never;
  kernelId = () => this.id;
  comms = ['b'];
  hasComm = async (id: string) => this.comms.includes(id);
  kernelEnded = () => this.ended;
  kernelTrouble = () => this.trouble;
  onKernelChange = (listener: () => void) => ((this.change = listener), () => {});
  onMessage = (listener: (message: KernelMessage) => void) => ((this.publish = listener), () => {});
  tell = (comm: string, content: object) => void this.told.push([comm, content]);
}

function modelOf(data: object, trusted: boolean) {
  return { data, metadata: {}, trusted, setData: () => {} } as IRenderMime.IMimeModel;
}

function drawing(number: number, text: string, more: object = {}) {
  const state = { v: 1, number, kernel: 'k', beacon: 'b', status: 'live', message: '', dimmed: false, renderedAt: 1, ...more };
  return modelOf({ [DRAWING_MIME_TYPE]: state, 'text/plain': text }, true);
}

const visible = (output: DrawingOutput) =>
  output.widgets
    .slice(1)
    .filter(widget => !widget.hasClass('nbr-staged'))
    .map(widget => widget.node.textContent);
const note = (output: DrawingOutput) => output.node.querySelector('.nbr-detached')!.textContent;

test('a new drawing takes the place of the old one when it is complete', async () => {
  const output = new DrawingOutput(new Around(), registry);
  await output.renderModel(drawing(1, 'one'));
  expect(visible(output)).toEqual(['one']);
  Painter.gates = [];
  const second = output.renderModel(drawing(2, 'two'));
  const third = output.renderModel(drawing(3, 'three'));
  expect(visible(output)).toEqual(['one']);
  Painter.gates[1]!();
  await third;
  expect(visible(output)).toEqual(['three']);
  Painter.gates[0]!(); // the older one comes late
  await second;
  expect(visible(output)).toEqual(['three']);
  expect(output.widgets.length).toBe(2);
  Painter.gates = null;
});

test('the same drawing in another state is not drawn again', async () => {
  vi.useFakeTimers();
  const output = new DrawingOutput(new Around(), registry);
  await output.renderModel(drawing(1, 'one'));
  const shown = output.widgets[1];
  await output.renderModel(drawing(1, 'one', { dimmed: true }));
  expect(output.hasClass('nbr-dimmed')).toBe(false); // not for the blink in which new rows come
  vi.advanceTimersByTime(1000);
  expect(output.hasClass('nbr-dimmed')).toBe(true);
  await output.renderModel(drawing(1, 'one', { status: 'reconnecting', message: '<b>gone</b>' }));
  expect(output.widgets[1]).toBe(shown);
  expect(output.hasClass('nbr-dimmed')).toBe(false);
  expect(output.node.querySelector('b')).toBeNull();
  vi.useRealTimers();
});

test('it says when it is not live any more, until it is drawn again', async () => {
  const around = new Around();
  const output = new DrawingOutput(around, registry);
  await output.renderModel(drawing(1, 'one'));
  expect(note(output)).toBe('');
  Object.assign(around, { ended: true, trouble: 'restarting' });
  around.change();
  expect(note(output)).toBe('restarting');
  Object.assign(around, { ended: false, trouble: '' });
  around.change();
  expect(note(output)).toBe('restarting'); // the new kernel knows nothing of it
  await output.renderModel(drawing(2, 'two'));
  expect(note(output)).toBe('');
  around.id = 'another';
  around.change();
  expect(note(output)).toContain('Not live');
});

test('whether the notebook is trusted decides what may draw', async () => {
  asked.length = 0;
  const output = new DrawingOutput(null, registry);
  await output.renderModel(modelOf(drawing(1, 'one').data, false));
  expect(new Set(asked)).toEqual(new Set(['ensure']));
  expect(note(output)).toContain('Snapshot of');
});

test('a saved drawing asks whether its kernel was restarted before the page was loaded', async () => {
  const around = new Around();
  const output = new DrawingOutput(around, registry);
  await output.renderModel(drawing(1, 'one'));
  await vi.waitFor(() => expect(note(output)).toBe(''));
  around.comms = [];
  const another = new DrawingOutput(around, registry);
  await another.renderModel(drawing(1, 'one'));
  await vi.waitFor(() => expect(note(another)).toContain('no longer live'));
  await another.renderModel(drawing(2, 'two', { renderedAt: Date.now() }));
  expect(note(another)).toBe('');
});

test('a drawing that came with the notebook asks for the newest, and follows what the kernel publishes', async () => {
  const around = new Around();
  const output = new DrawingOutput(around, registry);
  const saved = drawing(1, 'one', { id: 'd' });
  saved.setData = ({ data }) => Object.assign(saved, { data });
  await output.renderModel(saved);
  await vi.waitFor(() => expect(around.told).toEqual([['b', { type: 'show', id: 'd' }]]));
  const publish = (display_id: string, number: number, text: string) => {
    const { data } = drawing(number, text, { id: display_id, renderedAt: number });
    const content = { data, metadata: {}, transient: { display_id } };
    around.publish({ header: { msg_type: 'update_display_data' }, content });
  };
  publish('another', 2, 'not this');
  publish('d', 3, 'newer');
  await vi.waitFor(() => expect(visible(output)).toEqual(['newer']));
  expect(saved.data['text/plain']).toBe('newer'); // it is saved with the notebook
  const shown = output.widgets[1];
  publish('d', 3, 'newer'); // as when the cell's output has taken it already
  expect(output.widgets[1]).toBe(shown);

  const gone = { comm_id: 'b', data: { method: 'custom', content: { type: 'gone', id: 'd' } } };
  around.publish({ header: { msg_type: 'comm_msg' }, content: gone });
  expect(note(output)).toContain('no longer live');
});

test('until the kernel answers, a saved drawing says that it is a snapshot', async () => {
  const around = new Around();
  let answer = (_: boolean) => {};
  around.hasComm = () => new Promise(done => (answer = done));
  const output = new DrawingOutput(around, registry);
  await output.renderModel(drawing(1, 'one'));
  expect(note(output)).toContain('Snapshot of');
  answer(true);
  await vi.waitFor(() => expect(note(output)).toBe(''));
});

test('a chart is drawn again in the colours of a new theme', async () => {
  const output = new DrawingOutput(new Around(), registry);
  const chart = drawing(1, 'chart');
  Object.assign(chart.data, { 'application/vnd.vegalite.v5+json': {} });
  await output.renderModel(chart);
  const before = output.widgets[1];
  document.body.setAttribute('data-jp-theme-light', 'false');
  await vi.waitFor(() => expect(output.widgets[1]).not.toBe(before));
  expect(visible(output)).toEqual(['chart']);
});

test('a chart whose first drawing is under way when the theme comes is drawn in its colours', async () => {
  document.body.setAttribute('data-jp-theme-light', 'true');
  const output = new DrawingOutput(new Around(), registry);
  const chart = drawing(1, 'chart');
  Object.assign(chart.data, { 'application/vnd.vegalite.v5+json': {} });
  Painter.gates = [];
  const drawn = output.renderModel(chart);
  const before = output.widgets[1];
  document.body.setAttribute('data-jp-theme-light', 'false'); // as Notebook 7 does it: after its notebook is there
  await new Promise(done => setTimeout(done)); // what observes the page has been told
  const [first] = Painter.gates;
  Painter.gates = null;
  first!();
  await drawn;
  expect(output.widgets[1]).not.toBe(before);
  expect(visible(output)).toEqual(['chart']);
});
