/**
 * The output of a live object in JupyterLab and Notebook.
 *
 * The saved snapshot is painted at once. Beside it, hidden, stands the kernel's own view, made by whatever renders
 * widgets in this notebook; as soon as that has found its model it takes the place of the snapshot, and when it is
 * closed the snapshot comes back. A kernel that stops while its view is shown leaves rows that are no longer live: a line
 * above them says so, also when the kernel is back, for the new one knows nothing of them.
 */

import type { IRenderMime } from '@jupyterlab/rendermime-interfaces';
import { Panel, Widget } from '@lumino/widgets';
import { MIME_TYPE, readPayload, WIDGET_MIME_TYPE } from './payload';
import { LiveTable } from './table';

/** What the output needs of the notebook around it. */
export interface Host {
  /** Make the view of a kernel's widget; null where nothing renders widgets. */
  createWidgetView(): (IRenderMime.IRenderer & Partial<Pick<Panel, 'widgets'>>) | null;
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
}

export class LiveOutput extends Panel implements IRenderMime.IRenderer {
  private readonly _table: LiveTable;
  private readonly _snapshot: Widget;
  private readonly _trouble: Widget;
  private _view: ReturnType<Host['createWidgetView']> = null;
  private _watcher: MutationObserver | null = null;
  private _stopListening: (() => void) | null = null;
  private _ended = '';

  constructor(private readonly _host: Host | null) {
    super();
    this.addClass('nbr-output');
    this._table = new LiveTable(document);
    this._snapshot = new Widget({ node: this._table.node });
    this._trouble = new Widget();
    this._trouble.addClass('nbr-detached');
    this._trouble.node.setAttribute('role', 'status');
    this._trouble.hide();
    this.addWidget(this._trouble);
    this.addWidget(this._snapshot);
  }

  async renderModel(model: IRenderMime.IMimeModel): Promise<void> {
    const state = readPayload(model.data[MIME_TYPE]);
    this._table.update(
      state ?? {
        ...readPayload({ v: 1 })!,
        message: 'This output was saved by a newer nbreactive: run the cell again, or update nbreactive.',
      },
    );
    if (model.data[WIDGET_MIME_TYPE] !== undefined && this._view === null) {
      this._mount(model);
    }
  }

  override dispose(): void {
    this._watcher?.disconnect();
    this._stopListening?.();
    super.dispose();
  }

  private _mount(model: IRenderMime.IMimeModel): void {
    const view = this._host?.createWidgetView() ?? null;
    if (this._host === null || view === null) {
      return;
    }
    this._view = view;
    view.hide();
    this.addWidget(view);
    this._watcher = new MutationObserver(() => this._choose());
    this._watcher.observe(view.node, { childList: true });
    this._stopListening = this._host.onKernelChange(() => this._choose());
    // Not awaited: without a kernel it never ends, and the snapshot is complete by itself.
    void view.renderModel(model).then(
      () => this._choose(),
      () => this._choose(),
    );
  }

  /** Show the kernel's view if there is one, else the snapshot. */
  private _choose(): void {
    if (this.isDisposed || this._view === null) {
      return;
    }
    const mounted = (this._view.widgets?.length ?? 0) > 0;
    this._view.setHidden(!mounted);
    this._snapshot.setHidden(mounted);
    if (mounted && this._host?.kernelEnded()) {
      this._ended = this._host.kernelTrouble();
    }
    const trouble = mounted ? this._ended || (this._host?.kernelTrouble() ?? '') : '';
    this._trouble.node.textContent = trouble;
    this._trouble.setHidden(trouble === '');
    this.toggleClass('nbr-mod-detached', trouble !== '');
  }
}
