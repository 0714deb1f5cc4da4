/**
 * The output of a live object in JupyterLab and Notebook.
 *
 * The saved snapshot is painted at once. Beside it, hidden, stands the kernel's own view, made by whatever renders
 * widgets in this notebook; as soon as that has found its model it takes the place of the snapshot, and when it is
 * closed the snapshot comes back.
 *
 * After a reload outputs are there before the kernel is known. ipywidgets hands its manager to renderers that stand in
 * an output area themselves, and registers a factory of this notebook's own for those which come later; a view made
 * before would wait for ever. So a view that shows nothing is made again whenever there is another factory.
 *
 * The snapshot needs no kernel to be live: the page asks for its rows itself, by the name and the arguments of a query, with the
 * rights of whoever looks, while no kernel's view is shown. The settings say for which outputs.
 *
 * A kernel that stops while its view is shown leaves rows that are no longer live: a line
 * above them says so, also when the kernel is back, for the new one knows nothing of them.
 */

import type { IRenderMime } from '@jupyterlab/rendermime-interfaces';
import { Panel, Widget } from '@lumino/widgets';
import { backendOf, type Backend } from '../connection/page';
import { readPlace } from '../connection/storage';
import { EMPTY, LiveTable, type LiveState } from '../views/table';
import { Thumbnails } from '../views/thumbnails';
import { Following, messageOf, statusOf, type Now } from './live';
import { MIME_TYPE, readOrigin, readPayload, readPersonal, WIDGET_MIME_TYPE, type Origin } from './payload';
import { Policy } from './policy';

/** What the output needs of the notebook around it. */
export interface Host {
  /** What makes views of widgets at the moment (another one as soon as it knows the kernel), null if nothing does. */
  widgetFactory(): object | null;
  /** Make the view of a kernel's widget. */
  createWidgetView(): WidgetView;
  /** Id of the kernel, '' without one. */
  kernelId(): string;
  /** Whether the kernel has this comm; a busy kernel takes its time. */
  hasComm(id: string): Promise<boolean>;
  /** Why the kernel feeds no views at the moment, or '' when it does. */
  kernelTrouble(): string;
  /** Whether what the kernel had in memory is gone. */
  kernelEnded(): boolean;
  /** Call `listener` when the answer of `kernelTrouble` may have changed; returns the way to stop. */
  onKernelChange(listener: () => void): () => void;
  /** Hear what the kernel publishes, to whomever; returns the way to stop. */
  onMessage(listener: (message: KernelMessage) => void): () => void;
  /** Send something to a widget of the kernel. */
  tell(comm: string, content: object): void;
}

/** The part of a published message that is used here. */
export interface KernelMessage {
  readonly header: { readonly msg_type: string };
  readonly content: unknown;
}

type WidgetView = IRenderMime.IRenderer & Partial<Pick<Panel, 'widgets'>>;

export const GONE = 'This output is no longer live: run the cell again.';
export const PERSONAL = 'These rows depend on who looks, so none are saved.';

export class LiveOutput extends Panel implements IRenderMime.IRenderer {
  private readonly _table: LiveTable;
  private readonly _thumbnails: Thumbnails;
  private readonly _snapshot: Widget;
  private readonly _trouble: Widget;
  private _model: IRenderMime.IMimeModel | null = null;
  private _view: WidgetView | null = null;
  private _factory: object | null = null;
  private _watcher: MutationObserver | null = null;
  private _stopListening: (() => void) | null = null;
  private _ended = '';
  private _checked = '';
  private _gone = false;
  private _state: LiveState = EMPTY;
  private _personal = false;
  private _place: unknown = null;
  private _trusted = false;
  private _origin: Origin | null = null;
  private _following: Following | null = null;
  private _now: Now | null = null;
  private _frame = 0;
  private readonly _stopAsking: () => void;

  constructor(
    private readonly _host: Host | null,
    private readonly _policy: Policy = new Policy('always'),
    private readonly _backend: (mount: string) => Backend | null = backendOf,
  ) {
    super();
    this.addClass('nbr-output');
    this._thumbnails = new Thumbnails(document, () => readPlace(this._following && this._place));
    this._table = new LiveTable(document, {
      loadMore: () => this._following?.more(),
      thumbnails: this._thumbnails,
      want: (offset, limit) => this._following?.want(offset, limit),
    });
    this._snapshot = new Widget({ node: this._table.node });
    this._trouble = new Widget();
    this._trouble.addClass('nbr-detached');
    this._trouble.node.setAttribute('role', 'status');
    this._trouble.hide();
    this.addWidget(this._trouble);
    this.addWidget(this._snapshot);
    this._stopAsking = this._policy.onChange(() => this._choose());
  }

  async renderModel(model: IRenderMime.IMimeModel): Promise<void> {
    const payload = model.data[MIME_TYPE];
    const state = readPayload(payload);
    this._state = state ?? {
      ...readPayload({ v: 1 })!,
      message: 'This output was saved by a newer nbreactive: run the cell again, or update nbreactive.',
    };
    this._personal = readPersonal(payload);
    this._place = (payload as { place?: unknown } | null)?.place;
    this._trusted = model.trusted;
    this._ask(false); // what was asked before was of another output
    this._origin = readOrigin(payload);
    if (model.data[WIDGET_MIME_TYPE] !== undefined && this._host !== null) {
      this._model = model;
      this._stopListening ??= this._host.onKernelChange(() => this._follow());
      this._follow();
    } else {
      this._choose();
    }
    this._paint();
  }

  override dispose(): void {
    this._ask(false);
    this._stopAsking();
    this._thumbnails.dispose();
    this._watcher?.disconnect();
    this._stopListening?.();
    super.dispose();
  }

  private _follow(): void {
    if (!this.isDisposed) {
      this._mount();
      this._check();
      this._choose();
    }
  }

  private get _mounted(): boolean {
    return (this._view?.widgets?.length ?? 0) > 0;
  }

  private _mount(): void {
    const factory = this._host!.widgetFactory();
    if (factory === null || factory === this._factory || this._mounted) {
      return;
    }
    this._factory = factory;
    this._watcher?.disconnect();
    this._view?.dispose();
    const view = this._host!.createWidgetView();
    this._view = view;
    view.hide();
    this.addWidget(view);
    this._watcher = new MutationObserver(() => this._choose());
    this._watcher.observe(view.node, { childList: true });
    // Not awaited: without a kernel it never ends, and the snapshot is complete by itself.
    void view.renderModel(this._model!).then(
      () => this._choose(),
      () => this._choose(),
    );
  }

  /** Ask a kernel, once, whether it knows this view: another kernel, or the same restarted, does not. */
  private _check(): void {
    const kernel = this._host!.kernelId();
    if (kernel === '' || this._host!.kernelEnded()) {
      this._checked = '';
      return;
    }
    const id = (this._model!.data[WIDGET_MIME_TYPE] as { model_id?: unknown } | null)?.model_id;
    if (kernel === this._checked || typeof id !== 'string') {
      return;
    }
    this._checked = kernel;
    void this._host!.hasComm(id).then(
      here => {
        this._gone = !here;
        this._choose();
      },
      () => {
        this._checked = ''; // the connection broke: asked again when it is back
      },
    );
  }

  /** Show the kernel's view if there is one, else the snapshot. */
  private _choose(): void {
    if (this.isDisposed) {
      return;
    }
    // A widget whose state was saved in the notebook has a view too; but no kernel feeds it.
    const shown = this._mounted && (!this._gone || this._ended !== '');
    this._view?.setHidden(!shown);
    this._snapshot.setHidden(shown);
    this._ask(!shown && this._policy.allows(this._trusted));
    if (shown && this._host?.kernelEnded()) {
      this._ended = this._host.kernelTrouble();
    }
    const missing = this._gone && this._host?.kernelId() && this._following === null ? GONE : '';
    const trouble = shown ? this._ended || (this._host?.kernelTrouble() ?? '') : missing;
    this._trouble.node.textContent = trouble;
    this._trouble.setHidden(trouble === '');
    this.toggleClass('nbr-mod-detached', shown && trouble !== '');
  }

  /** Ask for the rows, or ask no longer: then the snapshot is what it was. */
  private _ask(wanted: boolean): void {
    if (wanted && this._following === null && this._origin !== null) {
      const backend = this._backend(this._origin.mount);
      this._following =
        backend &&
        new Following(backend, this._origin, now => {
          this._now = now;
          this._paintSoon();
        });
    } else if (!wanted && this._following !== null) {
      this._following.close();
      this._following = this._now = null;
      this._paint();
    }
  }

  /** At most once a frame, and never while nobody can see the page. */
  private _paintSoon(): void {
    if (this._frame === 0) {
      this._frame = requestAnimationFrame(() => {
        this._frame = 0;
        this._paint();
      });
    }
  }

  private _paint(): void {
    if (this.isDisposed) {
      return;
    }
    if (this._now === null) {
      const note = this._personal && this._following === null ? PERSONAL : '';
      this._table.update({ ...this._state, message: this._state.message || note });
      return;
    }
    const { rows, updated } = this._now;
    this._table.update({
      ...this._state,
      ...rows,
      frame: this._state.frame ?? rows?.window ?? null,
      message: messageOf(this._now, this._origin?.mount ?? ''),
      status: statusOf(this._now),
      updated: updated || this._state.updated,
    });
  }
}
