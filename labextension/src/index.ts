/**
 * The plugin for JupyterLab and Notebook: renders outputs of live objects, bound to the kernel's widget while
 * there is one.
 *
 * The factory is `safe` (it paints text only) and ranks before the one of ipywidgets, so that trusted and untrusted
 * notebooks alike use it. A renderer is told the resolver of its notebook, and nothing else that would name the
 * notebook; so that is the key by which it finds it.
 */

import type { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { IRenderMimeRegistry } from '@jupyterlab/rendermime';
import type { IRenderMime } from '@jupyterlab/rendermime-interfaces';
import { DrawingOutput } from './drawing';
import { DRAWING_MIME_TYPE, MIME_TYPE, WIDGET_MIME_TYPE } from './payload';
import { LiveOutput, type Host } from './renderer';

interface Signal {
  connect(slot: () => void): boolean;
  disconnect(slot: () => void): boolean;
}

interface Kernel {
  readonly id: string;
  readonly status: string;
  readonly connectionStatus: string;
  requestCommInfo(content: { target_name?: string }): Promise<{
    readonly content: { readonly status: string; readonly comms?: Record<string, unknown> };
  }>;
}

/** The part of a notebook panel that is used here (of `@jupyterlab/notebook`, which is not worth a dependency). */
interface NotebookPanel {
  readonly content: { readonly rendermime: IRenderMimeRegistry };
  readonly context: { readonly urlResolver: IRenderMime.IResolver };
  readonly sessionContext: {
    readonly session: { readonly kernel: Kernel | null } | null;
    readonly statusChanged: Signal;
    readonly connectionStatusChanged: Signal;
    readonly kernelChanged: Signal;
  };
}

/** A notebook as an output needs it; its own registry knows its widgets. */
type NotebookHost = Host & { readonly rendermime: IRenderMimeRegistry };

/** The comms of widgets. */
const COMMS = 'jupyter.widget';
const RANK = -20;
const FINAL = ['dead', 'terminating', 'autorestarting', 'restarting'];

function describeKernel({ sessionContext }: NotebookPanel): string {
  const kernel = sessionContext.session?.kernel ?? null;
  if (kernel === null) {
    return 'The kernel has stopped: this output is no longer live. Run the cell again.';
  }
  if (FINAL.includes(kernel.status)) {
    return 'The kernel was restarted: this output is no longer live. Run the cell again.';
  }
  return kernel.connectionStatus === 'connected' ? '' : 'No connection to the kernel: this output may be old.';
}

function hostOf(panel: NotebookPanel): NotebookHost {
  return {
    rendermime: panel.content.rendermime,
    createWidgetView: () => {
      const { rendermime } = panel.content;
      return rendermime.mimeTypes.includes(WIDGET_MIME_TYPE) ? rendermime.createRenderer(WIDGET_MIME_TYPE) : null;
    },
    kernelId: () => panel.sessionContext.session?.kernel?.id ?? '',
    hasComm: async id => {
      const reply = await panel.sessionContext.session?.kernel?.requestCommInfo({ target_name: COMMS });
      return reply?.content.comms?.[id] !== undefined;
    },
    kernelEnded: () => FINAL.includes(panel.sessionContext.session?.kernel?.status ?? 'dead'),
    kernelTrouble: () => describeKernel(panel),
    onKernelChange: listener => {
      const { statusChanged, connectionStatusChanged, kernelChanged } = panel.sessionContext;
      const signals = [statusChanged, connectionStatusChanged, kernelChanged];
      signals.forEach(signal => signal.connect(listener));
      return () => signals.forEach(signal => signal.disconnect(listener));
    },
  };
}

const plugin: JupyterFrontEndPlugin<void> = {
  id: 'nbreactive:plugin',
  description: 'Renders the outputs of live queries.',
  autoStart: true,
  requires: [IRenderMimeRegistry],
  activate: (app: JupyterFrontEnd, rendermime: IRenderMimeRegistry) => {
    const hosts = new WeakMap<IRenderMime.IResolver, NotebookHost>();
    app.docRegistry.addWidgetExtension('Notebook', {
      createNew: widget => {
        const panel = widget as unknown as NotebookPanel;
        hosts.set(panel.context.urlResolver, hostOf(panel));
      },
    });
    const find = (resolver: IRenderMime.IResolver | null) => (resolver && hosts.get(resolver)) ?? null;
    rendermime.addFactory(
      {
        safe: true,
        mimeTypes: [MIME_TYPE],
        createRenderer: ({ resolver }) => new LiveOutput(find(resolver)),
      },
      RANK,
    );
    rendermime.addFactory(
      {
        // What it draws with is chosen again by whether the notebook is trusted.
        safe: true,
        mimeTypes: [DRAWING_MIME_TYPE],
        createRenderer: ({ resolver }) => {
          const host = find(resolver);
          return new DrawingOutput(host, host?.rendermime ?? rendermime);
        },
      },
      RANK,
    );
  },
};

export default plugin;
