/**
 * The plugin of the side panel: the panel itself, its commands, a card in the launcher, an item in the status bar, and a new
 * notebook that is live from its first cell on. All that Notebook 7 or somebody's own application may lack is optional.
 */

import { ILayoutRestorer, type JupyterFrontEnd, type JupyterFrontEndPlugin } from '@jupyterlab/application';
import { ICommandPalette } from '@jupyterlab/apputils';
import { ILauncher } from '@jupyterlab/launcher';
import { ServerConnection } from '@jupyterlab/services';
import { ISettingRegistry } from '@jupyterlab/settingregistry';
import { IStatusBar } from '@jupyterlab/statusbar';
import { ITranslator, nullTranslator } from '@jupyterlab/translation';
import { LabIcon } from '@jupyterlab/ui-components';
import { Widget } from '@lumino/widgets';
import { backendOf } from '../connection/page';
import { record, text } from './values';
import { PanelView, type Deployments, type PageName } from './view';
import { liveNotebook } from './template';
import type { Say } from './page';

const ID = 'nbreactive:panel';
const OPEN = 'nbreactive:open-panel';
const OPEN_TAB = 'nbreactive:open-panel-in-tab';
const NEW_NOTEBOOK = 'nbreactive:new-notebook';
const CATEGORY = 'nbreactive';

const icon = new LabIcon({
  name: 'nbreactive:panel',
  svgstr:
    '<svg xmlns="http://www.w3.org/2000/svg" width="16" viewBox="0 0 24 24" fill="none"><g class="jp-icon3" stroke="#616161"' +
    ' stroke-width="2"><ellipse cx="12" cy="5.5" rx="7.5" ry="3"/><path d="M4.5 5.5v13c0 1.7 3.4 3 7.5 3s7.5-1.3 7.5-3v-13"/>' +
    '<path d="M4.5 12.5h4l2-4 3 7 2-3h4"/></g></svg>',
});

/** The frame: everything in it is painted by the view, which is live while it can be seen. */
class PanelWidget extends Widget {
  readonly view: PanelView;

  constructor(
    say: Say,
    deployments: () => Promise<Deployments>,
    private readonly _stateChanged: (state: string) => void,
  ) {
    super();
    this.view = new PanelView({ document, say, backendOf, deployments, changed: state => this._stateChanged(state) });
    this.addClass('nbr-panel-widget');
    this.node.append(this.view.node);
    this.title.icon = icon;
    this.title.caption = say('nbreactive: tables, functions, logs');
  }

  protected override onAfterShow(): void {
    this.view.show();
  }

  protected override onAfterAttach(): void {
    if (this.isVisible) {
      this.view.show();
    }
  }

  protected override onAfterHide(): void {
    this.view.hide();
  }

  protected override onBeforeDetach(): void {
    this.view.hide();
  }

  protected override onActivateRequest(): void {
    (this.node.querySelector<HTMLElement>('[role=tab][aria-selected=true]') ?? this.node).focus();
  }
}

/** Which deployments the page's Jupyter server has, and who sees them. */
async function find(app: JupyterFrontEnd, say: Say): Promise<Deployments> {
  const { serverSettings } = app.serviceManager;
  const address = `${serverSettings.baseUrl.replace(/\/?$/, '/')}nbreactive/api/health`;
  const answer = await ServerConnection.makeRequest(address, {}, serverSettings);
  if (!answer.ok) {
    throw new Error(answer.status === 403 ? say('you may not use it') : say('it answered %1', answer.status));
  }
  const health = record(await answer.json());
  const first = text(health.deployment);
  const names = Array.isArray(health.deployments) ? health.deployments.map(text) : [first];
  return { names, first, note: health.shared_with ? say('shared with %1', text(health.shared_with)) : '' };
}

const plugin: JupyterFrontEndPlugin<void> = {
  id: ID,
  description: 'A side panel for tables, functions, logs, jobs, files and history of a deployment.',
  autoStart: true,
  optional: [ICommandPalette, ILauncher, IStatusBar, ITranslator, ISettingRegistry, ILayoutRestorer],
  activate: (
    app: JupyterFrontEnd,
    palette: ICommandPalette | null,
    launcher: ILauncher | null,
    statusBar: IStatusBar | null,
    translator: ITranslator | null,
    settings: ISettingRegistry | null,
    restorer: ILayoutRestorer | null,
  ) => {
    const { commands, shell } = app;
    const trans = (translator ?? nullTranslator).load('nbreactive');
    const say: Say = (said, ...args) => trans.__(said, ...args);
    const status = document.createElement('button');
    const deployments = () => find(app, say);

    const widget = new PanelWidget(say, deployments, state => (status.textContent = `⚡ ${state}`));
    widget.id = 'nbreactive-panel';
    // At once, so that it is there when the layout of the last visit is restored
    let side = 'right';
    shell.add(widget, side, { rank: 600 });
    restorer?.add(widget, widget.id);
    void settings?.load(ID).then(loaded => {
      const take = () => {
        const wanted = loaded.composite.side === 'left' ? 'left' : 'right';
        if (wanted !== side) {
          side = wanted;
          shell.add(widget, side, { rank: 600 });
        }
        status.hidden = loaded.composite.statusBar === false;
      };
      take();
      loaded.changed.connect(take);
    }, () => undefined); // without settings it stays as it is

    commands.addCommand(OPEN, {
      label: ({ page }) => (page ? say('nbreactive: %1', titleOf(text(page), say)) : say('nbreactive: Open the Panel')),
      caption: say('Tables, functions, logs and more of this deployment'),
      icon,
      describedBy: { args: { type: 'object', properties: { page: { type: 'string' } } } },
      execute: ({ page }) => {
        shell.activateById(widget.id);
        if (page) {
          widget.view.open(text(page) as PageName);
        }
      },
    });
    commands.addCommand(OPEN_TAB, {
      label: say('nbreactive: Open the Panel in a Tab'),
      caption: say('The same, with more room'),
      icon,
      execute: () => {
        const tab = new PanelWidget(say, deployments, () => undefined);
        tab.id = `nbreactive-panel-${Date.now()}`;
        tab.title.label = 'nbreactive';
        tab.title.closable = true;
        shell.add(tab, 'main');
        shell.activateById(tab.id);
      },
    });
    commands.addCommand(NEW_NOTEBOOK, {
      label: ({ isLauncher }) => (isLauncher ? say('Live Notebook') : say('nbreactive: New Live Notebook')),
      caption: say('A notebook with a table, functions and a live result'),
      icon,
      execute: async ({ cwd }) => {
        const { contents, kernelspecs } = app.serviceManager;
        await kernelspecs.ready;
        const kernel = kernelspecs.specs?.default ?? 'python3';
        const named = kernelspecs.specs?.kernelspecs[kernel];
        const created = await contents.newUntitled({ path: text(cwd), type: 'notebook' });
        const content = liveNotebook(say, kernel, named?.display_name ?? kernel, named?.language ?? 'python');
        await contents.save(created.path, { type: 'notebook', format: 'json', content });
        return commands.execute('docmanager:open', { path: created.path, factory: 'Notebook', kernel: { name: kernel } });
      },
    });

    if (palette) {
      const pages: readonly PageName[] = ['data', 'functions', 'logs', 'jobs', 'files', 'history', 'health', 'settings'];
      palette.addItem({ command: OPEN, category: CATEGORY });
      pages.forEach(page => palette.addItem({ command: OPEN, category: CATEGORY, args: { page } }));
      palette.addItem({ command: OPEN_TAB, category: CATEGORY });
      palette.addItem({ command: NEW_NOTEBOOK, category: CATEGORY });
    }
    launcher?.add({ command: NEW_NOTEBOOK, category: 'Other', rank: 1, args: { isLauncher: true } });
    if (statusBar) {
      status.type = 'button';
      status.className = 'nbr-panel-status';
      status.textContent = '⚡ nbreactive';
      status.title = say('Open the panel of nbreactive');
      status.addEventListener('click', () => void commands.execute(OPEN));
      const item = new Widget();
      item.node.append(status);
      statusBar.registerStatusItem(ID, { item, align: 'left', rank: 50 });
    }
  },
};

function titleOf(page: string, say: Say): string {
  const titles: Record<string, string> = {
    data: say('Data'),
    functions: say('Functions'),
    logs: say('Logs'),
    jobs: say('Schedules and Crons'),
    files: say('Files'),
    history: say('History'),
    health: say('Health'),
    settings: say('Settings'),
  };
  return titles[page] ?? page;
}

export default plugin;
