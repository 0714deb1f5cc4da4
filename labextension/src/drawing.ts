/**
 * The output of `.render`: whatever the kernel drew, in place, without flicker.
 *
 * The bundle holds the drawing in the formats that any front end knows, and beside them, under our own type, how it
 * stands. Registered for that type, this renderer gets all updates of an output (a renderer for the drawing's own type
 * would empty the page before it draws). It lets the right renderer draw out of sight, and swaps when that is done.
 */

import type { IRenderMimeRegistry } from '@jupyterlab/rendermime';
import type { IRenderMime } from '@jupyterlab/rendermime-interfaces';
import { Panel, Widget } from '@lumino/widgets';
import type { Host } from './renderer';
import { DRAWING_MIME_TYPE, readDrawing, type Drawing } from './payload';
import { describeTime } from './table';

/** A drawing that takes longer (a widget whose kernel is gone never ends) is shown as far as it is. */
const PATIENCE = 2_000;
/** Jupyter ranks HTML before it; but a chart's HTML loads its library from the network, every time. */
const VEGA_LITE = 'application/vnd.vegalite.v5+json';
const TEXTS = ['text/html', 'text/plain'];
/** A drawing that is older when it comes was saved, or drawn before the page was loaded. */
const FRESH = 5_000;
const GONE = 'The kernel was restarted since: this output is no longer live. Run the cell again.';
const DIM_DELAY = 150;

export class DrawingOutput extends Panel implements IRenderMime.IRenderer {
  private readonly _note = new Widget();
  private _shown: IRenderMime.IRenderer | null = null;
  private _number = -1;
  private _turn = 0;
  private _drawing: Drawing | null = null;
  private _mimeType = '';
  private _ended = '';
  private _checked = '';
  private _dimming: ReturnType<typeof setTimeout> | undefined;
  private readonly _stopListening: () => void;

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
    this._stopListening = _host?.onKernelChange(() => this._describe()) ?? (() => {});
  }

  async renderModel(model: IRenderMime.IMimeModel): Promise<void> {
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
    this._stopListening();
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
    const turn = ++this._turn;
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
        if (turn === this._turn && more?.['image/png'] !== undefined) {
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
    this._mimeType = mimeType;
  }

  /** Ask the kernel, once, whether it is still the one that drew this. */
  private async _check(): Promise<void> {
    const { beacon } = this._drawing!;
    if (beacon === this._checked || this._host === null) {
      return;
    }
    this._checked = beacon;
    let here: boolean;
    try {
      here = await this._host.hasComm(beacon);
    } catch {
      this._checked = ''; // the connection broke: asked again when it is back
      return;
    }
    if (!here && this._drawing!.beacon === beacon) {
      this._ended = GONE;
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
    const since = updated > 0 ? ` (drawn ${describeTime(updated, Date.now())})` : '';
    if (kernel === current && updated > 0 && Math.abs(Date.now() - updated) > FRESH) {
      void this._check();
    }
    // What a restarted kernel left stays old: the id of the kernel is the same afterwards.
    if (kernel === current && this._host?.kernelEnded()) {
      this._ended = this._host.kernelTrouble();
    }
    const trouble = this._ended || this._host?.kernelTrouble();
    let note = '';
    if (kernel !== current) {
      note = `Not live${since}: run the cell again.`;
    } else if (trouble) {
      note = trouble;
    } else if (message !== '' && !TEXTS.includes(this._mimeType)) {
      note = `Not up to date${since}: ${message}`;
    } else if (status === 'reconnecting' || status === 'closed') {
      note = `${status}${since}`;
    }
    this._note.node.textContent = note;
    this._note.setHidden(note === '');
  }
}
