/**
 * The panel: which deployment, whether it is reached, what one may do there, and the pages as tabs.
 *
 * The roles are a live query like everything else here, so a page appears or goes the moment that somebody is let in or not.
 * Hiding is a courtesy: the server enforces it.
 */

import type { Backend } from '../connection/page';
import { Dom, setOptional, setText } from './dom';
import type { Page, Role, Say, Surroundings } from './page';
import { DataPage } from './pages/data';
import { FilesPage } from './pages/files';
import { FunctionsPage } from './pages/functions';
import { HealthPage } from './pages/health';
import { HistoryPage } from './pages/history';
import { JobsPage } from './pages/jobs';
import { LogsPage } from './pages/logs';
import { SettingsPage } from './pages/settings';

export interface Deployments {
  readonly names: readonly string[];
  readonly first: string;
  /** Who sees what is here, in words of the server. */
  readonly note: string;
}

export interface ViewOptions {
  readonly document: Document;
  readonly say: Say;
  readonly backendOf: (mount: string) => Backend | null;
  readonly deployments: () => Promise<Deployments>;
  /** The state in few words, for a status bar. */
  readonly changed?: (state: string) => void;
}

export type PageName = 'data' | 'functions' | 'logs' | 'jobs' | 'files' | 'history' | 'health' | 'settings';

interface Tab {
  readonly name: PageName;
  readonly label: string;
  readonly needs: Role;
  readonly make: (around: Surroundings) => Page;
}

let views = 0;

function tabs(say: Say): readonly Tab[] {
  return [
    { name: 'data', label: say('Data'), needs: 'deploy', make: around => new DataPage(around) },
    { name: 'functions', label: say('Functions'), needs: 'read', make: around => new FunctionsPage(around) },
    { name: 'logs', label: say('Logs'), needs: 'deploy', make: around => new LogsPage(around) },
    { name: 'jobs', label: say('Schedules'), needs: 'deploy', make: around => new JobsPage(around) },
    { name: 'files', label: say('Files'), needs: 'deploy', make: around => new FilesPage(around) },
    { name: 'history', label: say('History'), needs: 'deploy', make: around => new HistoryPage(around) },
    { name: 'health', label: say('Health'), needs: 'read', make: around => new HealthPage(around) },
    { name: 'settings', label: say('Settings'), needs: 'read', make: around => new SettingsPage(around) },
  ];
}

export class PanelView {
  readonly node: HTMLElement;
  private readonly _dom: Dom;
  private readonly _tabs: readonly Tab[];
  private readonly _id = `nbr-panel-${++views}`;
  private readonly _chooser: HTMLSelectElement;
  private readonly _state: HTMLElement;
  private readonly _note: HTMLElement;
  private readonly _list: HTMLElement;
  private readonly _content: HTMLElement;
  private readonly _told: HTMLElement;
  private readonly _buttons = new Map<PageName, HTMLButtonElement>();
  private readonly _makers = new Map<PageName, () => Page>();
  private _deployments: Deployments = { names: [], first: 'default', note: '' };
  private _deployment = '';
  private _wanted: PageName | null = null;
  private _roles: ReadonlySet<Role> | null = null;
  private _unfollow: () => void = () => undefined;
  private _page: { readonly name: PageName; readonly page: Page } | null = null;
  private _shown = false;

  constructor(private readonly _options: ViewOptions) {
    const { document, say } = _options;
    const dom = (this._dom = new Dom(document));
    this._tabs = tabs(say);
    this._chooser = dom.select(say('Deployment'), []);
    this._chooser.addEventListener('change', () => this._choose(this._chooser.value));
    this._state = dom.make('span', { class: 'nbr-panel-state', attrs: { role: 'status' } });
    this._note = dom.make('span', { class: 'nbr-panel-note' });
    this._list = dom.make('div', {
      class: 'nbr-panel-tabs',
      attrs: { role: 'tablist', 'aria-label': say('Pages') },
      on: { keydown: event => this._key(event) },
    });
    this._list.hidden = true;
    this._content = dom.make('div', {
      class: 'nbr-panel-content',
      attrs: { role: 'tabpanel', id: `${this._id}-page`, tabindex: '-1' },
    });
    this._told = dom.make('div', { class: 'nbr-panel-told', attrs: { role: 'alert' } });
    this._told.hidden = true;
    const head = dom.make('div', { class: 'nbr-panel-head' }, this._chooser, this._state, this._note);
    this.node = dom.make('div', { class: 'nbr-panel' }, head, this._list, this._told, this._content);
    // The notebook has keys of its own, which are letters, too
    this.node.setAttribute('data-lm-suppress-shortcuts', 'true');
    this._sayState('loading', say('looking for the server'));
  }

  /** The panel is to be seen: everything in it is live from now on. */
  show(): void {
    if (this._shown) {
      return;
    }
    this._shown = true;
    if (this._deployments.names.length === 0) {
      void this._find();
    } else {
      this._follow();
    }
  }

  /** Nobody looks: nothing is followed. */
  hide(): void {
    this._shown = false;
    this._unfollow();
    this._unfollow = () => undefined;
    this._page?.page.hide();
  }

  /** Show a page, as soon as it is known that it may be. */
  open(name: PageName): void {
    this._wanted = name;
    this._turnTo(name);
  }

  private async _find(): Promise<void> {
    const { say } = this._options;
    try {
      this._deployments = await this._options.deployments();
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error);
      this._sayState('error', say('this server has no nbreactive: %1', why));
      return;
    }
    const { names, first, note } = this._deployments;
    this._chooser.replaceChildren(...names.map(name => this._dom.option(name, name)));
    this._chooser.hidden = names.length < 2;
    setOptional(this._note, note);
    this._choose(this._deployment || first);
  }

  private _choose(deployment: string): void {
    this._deployment = deployment;
    this._chooser.value = deployment;
    this._roles = null;
    this._leave();
    this._follow();
  }

  private get _mount(): string {
    return `nbreactive/${encodeURIComponent(this._deployment)}`;
  }

  private _follow(): void {
    this._unfollow();
    const backend = this._shown ? this._options.backendOf(this._mount) : null;
    if (backend === null) {
      return;
    }
    const { say } = this._options;
    this._unfollow = backend.follow('nbreactive/identity:roles', {}, {
      value: value => this._allow(backend, new Set(Array.isArray(value) ? (value as Role[]) : [])),
      failed: message => this._sayState('error', message),
      linked: (open, trouble) => {
        if (open) {
          this._sayState('live', say('%1: live', this._deployment));
        } else if (trouble) {
          this._sayState('error', trouble === 'signed out' ? say('signed out: reload the page') : say('there is no such deployment'));
        } else {
          this._sayState('reconnecting', say('%1: reconnecting', this._deployment));
        }
      },
    });
    this._page?.page.show();
  }

  private _allow(backend: Backend, roles: ReadonlySet<Role>): void {
    const before = this._roles;
    if (before && before.size === roles.size && [...roles].every(role => before.has(role))) {
      return;
    }
    this._roles = roles;
    this._leave();
    const { say } = this._options;
    const around: Surroundings = {
      dom: this._dom,
      backend,
      mount: this._mount,
      roles,
      say,
      tell: (text, failed = false) => this._tell(text, failed),
    };
    const allowed = this._tabs.filter(({ needs }) => roles.has(needs));
    this._buttons.clear();
    this._list.replaceChildren(
      ...allowed.map(({ name, label, make }) => {
        const tab = this._dom.button(label, () => this._turnTo(name), {
          class: 'nbr-panel-tab',
          attrs: { role: 'tab', id: `${this._id}-${name}`, 'aria-controls': `${this._id}-page`, 'aria-selected': 'false' },
        });
        tab.tabIndex = -1;
        this._buttons.set(name, tab);
        this._makers.set(name, () => make(around));
        return tab;
      }),
    );
    this._list.hidden = allowed.length === 0;
    if (allowed.length === 0) {
      this._tell(say('You may not look at this deployment: ask the owner of this server.'), true);
      return;
    }
    this._turnTo(this._wanted && this._buttons.has(this._wanted) ? this._wanted : allowed[0]!.name);
  }

  private _turnTo(name: PageName): void {
    const make = this._makers.get(name);
    if (this._page?.name === name || make === undefined || !this._buttons.has(name)) {
      return;
    }
    this._page?.page.hide();
    this._tell('');
    this._wanted = name;
    const page = make();
    this._page = { name, page };
    this._content.replaceChildren(page.node);
    this._content.setAttribute('aria-labelledby', `${this._id}-${name}`);
    for (const [other, tab] of this._buttons) {
      tab.setAttribute('aria-selected', String(other === name));
      tab.tabIndex = other === name ? 0 : -1;
    }
    if (this._shown) {
      page.show();
    }
  }

  private _leave(): void {
    this._page?.page.hide();
    this._page = null;
    this._makers.clear();
    this._content.replaceChildren();
  }

  private _key(event: KeyboardEvent): void {
    const names = [...this._buttons.keys()];
    const at = names.findIndex(name => name === this._page?.name);
    const step = { ArrowRight: at + 1, ArrowDown: at + 1, ArrowLeft: at - 1, ArrowUp: at - 1, Home: 0, End: names.length - 1 }[event.key];
    if (step === undefined || names.length === 0) {
      return;
    }
    event.preventDefault();
    const name = names[(step + names.length) % names.length]!;
    this._turnTo(name);
    this._buttons.get(name)?.focus();
  }

  private _sayState(state: string, text: string): void {
    this._state.dataset.state = state;
    setText(this._state, text);
    this._options.changed?.(text);
  }

  private _tell(text: string, failed = false): void {
    this._told.classList.toggle('nbr-mod-failed', failed);
    setOptional(this._told, text);
  }
}
