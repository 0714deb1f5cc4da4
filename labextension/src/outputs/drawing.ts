/**
 * The output of `.render`: whatever the kernel drew, in place, without flicker.
 *
 * The bundle holds the drawing in the formats that any front end knows, and beside them, under our own type, how it
 * stands. Registered for that type, this renderer gets all updates of an output (a renderer for the drawing's own type
 * would empty the page before it draws). It lets the right renderer draw out of sight, and swaps when that is done.
 *
 * Jupyter passes updates on to outputs whose cell was run in this page. For those which came with the notebook (after a
 * reload the kernel still draws them) this renderer listens itself, and asks the kernel for what it missed.
 */

import type { IRenderMimeRegistry } from '@jupyterlab/rendermime';
import type { IRenderMime } from '@jupyterlab/rendermime-interfaces';
import { Panel, Widget } from '@lumino/widgets';
import { isRecord } from '../records';
import { ChartData } from './chart_data';
import { DRAWING_MIME_TYPE, readDrawing, type Drawing } from './payload';
import { GONE, type Host, type KernelMessage } from './renderer';
import { describeTime } from '../views/table';

/** A drawing that takes longer (a widget whose kernel is gone never ends) is shown as far as it is. */
const PATIENCE = 2_000;
/** Jupyter ranks HTML before it; but a chart's HTML loads its library from the network, every time. */
const VEGA_LITE = 'application/vnd.vegalite.v5+json';
const TEXTS = ['text/html', 'text/plain'];
/** A drawing that is older when it comes was saved, or drawn before the page was loaded. */
const FRESH = 5_000;
const VEGA = 'application/vnd.vega';
const DIM_DELAY = 150;
/** Milliseconds without new rows after which a chart is saved as a picture, too. */
const PICTURE_DELAY = 1_000;

export class DrawingOutput extends Panel implements IRenderMime.IRenderer {
  private readonly _note = new Widget();
  private _shown: IRenderMime.IRenderer | null = null;
  private _number = -1;
  private _turn = 0;
  private _chart: ChartData | null = null;
  private _light: string | undefined;
  private _picturing: ReturnType<typeof setTimeout> | undefined;
  private _model: IRenderMime.IMimeModel | null = null;
  private _drawing: Drawing | null = null;
  private _mimeType = '';
  private _ended = '';
  private _checked = '';
  private _answered = false;
  private _dimming: ReturnType<typeof setTimeout> | undefined;
  private readonly _stops: (() => void)[] = [];

  constructor(
    private readonly _host: Host | null,
    private readonly _rendermime: IRenderMimeRegistry,
  ) {
    super();
    this.addClass('nbr-drawing');
    this._note.addClass('nbr-detached');
    this._note.node.setAttribute('role', 'status');
    this._note.hide();
    this.addWidget(this._note);
    if (_host !== null) {
      this._stops.push(
        _host.onKernelChange(() => this._describe()),
        _host.onMessage(message => this._hear(message)),
      );
    }
    const theme = new MutationObserver(() => this._follow());
    theme.observe(document.body, { attributeFilter: ['data-jp-theme-light'] });
    this._stops.push(() => theme.disconnect());
  }

  async renderModel(model: IRenderMime.IMimeModel): Promise<void> {
    this._model = model;
    this._drawing = readDrawing(model.data[DRAWING_MIME_TYPE]);
    const { number } = this._drawing;
    if (number !== this._number || this._shown === null) {
      this._number = number;
      this._ended = '';
      await this._draw(model);
    }
    if (!this.isDisposed) {
      this._dim(this._drawing.dimmed);
      this._describe();
    }
  }

  override dispose(): void {
    clearTimeout(this._dimming);
    clearTimeout(this._picturing);
    this._stops.forEach(stop => stop());
    super.dispose();
  }

  private async _draw(model: IRenderMime.IMimeModel): Promise<void> {
    const data = { ...model.data };
    delete data[DRAWING_MIME_TYPE];
    const safe = model.trusted ? 'any' : 'ensure';
    const own = data[VEGA_LITE] === undefined ? {} : { [VEGA_LITE]: data[VEGA_LITE] };
    const mimeType = this._rendermime.preferredMimeType(own, safe) ?? this._rendermime.preferredMimeType(data, safe);
    if (mimeType === undefined) {
      return;
    }
    const light = document.body.dataset.jpThemeLight;
    const turn = ++this._turn;
    const chart = light === this._light && mimeType === this._mimeType ? this._chart : null;
    if (chart !== null && (await chart.take(data[mimeType]).catch(() => false))) {
      this.node.dataset.number = String(this._number);
      this._picture(model, chart);
      return;
    }
    if (turn < this._turn || this.isDisposed) {
      return;
    }
    const renderer = this._rendermime.createRenderer(mimeType);
    const old = this._shown;
    if (old !== null) {
      renderer.addClass('nbr-staged');
    }
    this.addWidget(renderer);
    const inner: IRenderMime.IMimeModel = {
      data,
      metadata: model.metadata,
      trusted: model.trusted,
      // Vega adds a picture of the chart, for pages that show saved notebooks.
      setData: ({ data: more }) => {
        if (turn === this._turn && more?.['image/png'] !== undefined && model === this._model) {
          model.setData({ data: { ...model.data, 'image/png': more['image/png'] } });
        }
      },
    };
    const drawn = renderer.renderModel(inner).catch((failure: unknown) => {
      renderer.node.textContent = `This drawing cannot be shown: ${String(failure)}`;
    });
    await (old === null ? drawn : Promise.race([drawn, new Promise(done => setTimeout(done, PATIENCE))]));
    if (this.isDisposed) {
      return;
    }
    if (turn < this._turn) {
      renderer.dispose(); // a newer one was begun meanwhile
      return;
    }
    renderer.removeClass('nbr-staged');
    for (const widget of [...this.widgets]) {
      if (widget !== renderer && widget !== this._note) {
        widget.dispose();
      }
    }
    this._shown = renderer;
    this.node.dataset.number = String(this._number);
    this._mimeType = mimeType;
    this._light = light;
    this._chart = mimeType.startsWith(VEGA) ? ChartData.of(renderer, data[mimeType]) : null;
    if (light !== document.body.dataset.jpThemeLight && mimeType.startsWith(VEGA)) {
      await this._draw(model); // the theme came while it was drawn, when there was nothing yet to draw again
    }
  }

  /** Save a chart that has taken new rows as a picture, as its renderer does with what it draws. */
  private _picture(model: IRenderMime.IMimeModel, chart: ChartData): void {
    clearTimeout(this._picturing);
    this._picturing = setTimeout(async () => {
      const png = await chart.picture().catch(() => '');
      if (png !== '' && model === this._model && chart === this._chart && !this.isDisposed) {
        model.setData({ data: { ...model.data, 'image/png': png } });
      }
    }, PICTURE_DELAY);
  }

  /** Draw a chart again in the colours of a new theme; it is the only drawing whose renderer looks at them. */
  private _follow(): void {
    if (this._shown !== null && this._model !== null && this._mimeType.startsWith(VEGA)) {
      void this._draw(this._model);
    }
  }

  /** Take what the kernel publishes for this output, unless it came through the output's cell. */
  private _hear({ header, content }: KernelMessage): void {
    const model = this._model;
    const drawing = this._drawing;
    if (model === null || drawing === null || drawing.id === '' || this.isDisposed || !isRecord(content)) {
      return;
    }
    if (header.msg_type === 'comm_msg' && content.comm_id === drawing.beacon) {
      const said = isRecord(content.data) && isRecord(content.data.content) ? content.data.content : {};
      if (said.type === 'gone' && said.id === drawing.id) {
        this._ended = GONE;
        this._describe();
      }
    }
    const transient = isRecord(content.transient) ? content.transient : {};
    if (transient.display_id !== drawing.id || !isRecord(content.data)) {
      return;
    }
    this._answered = true;
    const next = readDrawing(content.data[DRAWING_MIME_TYPE]);
    if (next.id === drawing.id && (next.number !== drawing.number || next.updated !== drawing.updated)) {
      // The output itself takes it, so that it is saved, and seen by whatever else shows this output.
      model.setData({
        data: content.data as IRenderMime.IMimeModel['data'],
        metadata: (isRecord(content.metadata) ? content.metadata : {}) as IRenderMime.IMimeModel['metadata'],
      });
      void this.renderModel(model);
    } else {
      this._describe();
    }
  }

  /** Ask the kernel, once, whether it is still the one that drew this, and for what it has drawn since. */
  private async _check(): Promise<void> {
    const { beacon, id } = this._drawing!;
    if (beacon === this._checked || this._host === null) {
      return;
    }
    this._checked = beacon;
    let here: boolean;
    try {
      here = await this._host.hasComm(beacon);
      if (here && id !== '') {
        this._host.tell(beacon, { type: 'show', id });
      }
    } catch {
      this._checked = ''; // the connection broke: asked again when it is back
      return;
    }
    if (this._drawing!.beacon === beacon) {
      this._answered = true;
      this._ended = here ? this._ended : GONE;
      this._describe();
    }
  }

  /** Dim what is old, but not for the blink in which the new rows come. */
  private _dim(dimmed: boolean): void {
    clearTimeout(this._dimming);
    if (!dimmed) {
      this.removeClass('nbr-dimmed');
    } else {
      this._dimming = setTimeout(() => this.addClass('nbr-dimmed'), DIM_DELAY);
    }
  }

  /** Say what there is to say about it; nothing while it is live. */
  private _describe(): void {
    if (this._drawing === null || this.isDisposed) {
      return;
    }
    const { kernel, message, status, updated } = this._drawing;
    const current = this._host?.kernelId() ?? '';
    const time = updated > 0 ? describeTime(updated, Date.now()) : '';
    const since = time && ` (drawn ${time})`;
    const saved = Math.abs(Date.now() - updated) > FRESH;
    if (this._host?.kernelTrouble()) {
      this._checked = ''; // what is published meanwhile may not come
    } else if (kernel === current) {
      void this._check();
    }
    // What a restarted kernel left stays old: the id of the kernel is the same afterwards.
    if (kernel === current && this._host?.kernelEnded()) {
      this._ended = this._host.kernelTrouble();
    }
    const trouble = this._ended || this._host?.kernelTrouble();
    let note = '';
    if (current === '' && this._ended === '') {
      note = time ? `Snapshot of ${time}` : 'Snapshot';
    } else if (kernel !== current) {
      note = `Not live${since}: run the cell again.`;
    } else if (trouble) {
      note = trouble;
    } else if (!this._answered && saved && updated > 0) {
      note = `Snapshot of ${time}, until the kernel answers`;
    } else if (message !== '' && !TEXTS.includes(this._mimeType)) {
      note = `Not up to date${since}: ${message}`;
    } else if (status === 'reconnecting' || status === 'closed') {
      note = `${status}${since}`;
    }
    this._note.node.textContent = note;
    this._note.setHidden(note === '');
  }
}
