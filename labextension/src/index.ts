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
import { ISettingRegistry } from '@jupyterlab/settingregistry';
import type { IRenderMime } from '@jupyterlab/rendermime-interfaces';
import { pageOver } from './connection/backend';
import { offer } from './connection/page';
import panel from './panel/plugin';
import { answer, type Awareness } from './views/collaborators';
import { DrawingOutput } from './outputs/drawing';
import { DRAWING_MIME_TYPE, MIME_TYPE, WIDGET_MIME_TYPE } from './outputs/payload';
import { Policy } from './outputs/policy';
import { LiveOutput, type Host, type KernelMessage } from './outputs/renderer';

interface Signal<T = unknown> {
  connect(slot: (sender: unknown, value: T) => void): boolean;
  disconnect(slot: (sender: unknown, value: T) => void): boolean;
}

interface Kernel {
  readonly id: string;
  readonly status: string;
  readonly connectionStatus: string;
  readonly clientId: string;
  readonly username: string;
  sendShellMessage(message: object): unknown;
  requestCommInfo(content: { target_name?: string }): Promise<{
    readonly content: { readonly status: string; readonly comms?: Record<string, unknown> };
  }>;
}

/** The part of a notebook panel that is used here (of `@jupyterlab/notebook`, which is not worth a dependency). */
interface NotebookPanel {
  readonly node: HTMLElement;
  readonly content: { readonly rendermime: IRenderMimeRegistry };
  readonly context: {
    readonly urlResolver: IRenderMime.IResolver;
    readonly model?: { readonly sharedModel?: { readonly awareness?: Awareness } };
  };
  readonly sessionContext: {
    readonly session: { readonly kernel: Kernel | null } | null;
    readonly statusChanged: Signal;
    readonly connectionStatusChanged: Signal;
    readonly kernelChanged: Signal;
    readonly iopubMessage: Signal<KernelMessage>;
    readonly ready: Promise<void>;
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

/** A message to a widget; by hand, since the comm itself belongs to what renders widgets. */
function customMessage(kernel: Kernel, comm: string, content: object): object {
  return {
    channel: 'shell',
    header: {
      date: new Date().toISOString(),
      msg_id: `nbreactive-${Date.now()}-${Math.random().toString(36).slice(2)}`,
      msg_type: 'comm_msg',
      session: kernel.clientId,
      username: kernel.username,
      version: '5.2',
    },
    parent_header: {},
    metadata: {},
    content: { comm_id: comm, data: { method: 'custom', content } },
    buffers: [],
  };
}

function hostOf(panel: NotebookPanel): NotebookHost {
  return {
    rendermime: panel.content.rendermime,
    widgetFactory: () => panel.content.rendermime.getFactory(WIDGET_MIME_TYPE) ?? null,
    createWidgetView: () => panel.content.rendermime.createRenderer(WIDGET_MIME_TYPE),
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
      const heard = () => listener();
      signals.forEach(signal => signal.connect(heard));
      let listening = true;
      // What renders widgets waits for the same, and then takes a turn to register with this notebook.
      void panel.sessionContext.ready.then(() => setTimeout(() => listening && listener()));
      return () => {
        listening = false;
        signals.forEach(signal => signal.disconnect(heard));
      };
    },
    onMessage: listener => {
      const heard = (_: unknown, message: KernelMessage) => listener(message);
      panel.sessionContext.iopubMessage.connect(heard);
      return () => panel.sessionContext.iopubMessage.disconnect(heard);
    },
    tell: (comm, content) => {
      const kernel = panel.sessionContext.session?.kernel;
      kernel?.sendShellMessage(customMessage(kernel, comm, content));
    },
  };
}

/** Follow the user's setting; without settings, outputs are live. */
function policyOf(settings: ISettingRegistry | null): Policy {
  const policy = new Policy();
  const take = (said?: unknown) => policy.set(said);
  if (settings === null) {
    take();
  } else {
    void settings.load(ID).then(
      loaded => {
        take(loaded.composite.liveOutputs);
        loaded.changed.connect(({ composite }) => take(composite.liveOutputs));
      },
      () => take(),
    );
  }
  return policy;
}

const ID = 'nbreactive:plugin';

const plugin: JupyterFrontEndPlugin<void> = {
  id: ID,
  description: 'Renders the outputs of live queries.',
  autoStart: true,
  requires: [IRenderMimeRegistry],
  optional: [ISettingRegistry],
  activate: (app: JupyterFrontEnd, rendermime: IRenderMimeRegistry, settings: ISettingRegistry | null) => {
    const policy = policyOf(settings);
    offer(pageOver(app.serviceManager.serverSettings.baseUrl));
    const hosts = new WeakMap<IRenderMime.IResolver, NotebookHost>();
    app.docRegistry.addWidgetExtension('Notebook', {
      createNew: widget => {
        const panel = widget as unknown as NotebookPanel;
        hosts.set(panel.context.urlResolver, hostOf(panel));
        answer(panel.node, () => panel.context.model?.sharedModel?.awareness);
      },
    });
    const find = (resolver: IRenderMime.IResolver | null) => (resolver && hosts.get(resolver)) ?? null;
    rendermime.addFactory(
      {
        safe: true,
        mimeTypes: [MIME_TYPE],
        createRenderer: ({ resolver }) => new LiveOutput(find(resolver), policy),
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

export default [plugin, panel];
