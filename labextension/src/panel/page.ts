/** What the pages of the panel have in common: their surroundings, and the queries that they follow while they are shown. */

import type { Args, Backend, Json } from '../connection/page';
import type { Dom } from './dom';

export type Role = 'read' | 'write' | 'deploy' | 'admin';

/** A text in the language of the user, `%1` and so on replaced. */
export type Say = (text: string, ...args: (string | number)[]) => string;

export interface Surroundings {
  readonly dom: Dom;
  readonly backend: Backend;
  /** Below the page's Jupyter server: `nbreactive/default`. */
  readonly mount: string;
  readonly roles: ReadonlySet<Role>;
  readonly say: Say;
  /** Tell the user what became of what they did. */
  readonly tell: (text: string, failed?: boolean) => void;
}

/** One page of the panel. It follows queries only while it is shown. */
export interface Page {
  readonly node: HTMLElement;
  show(): void;
  hide(): void;
}

/** The queries that a view follows; all of them end together. */
export class Following {
  private readonly _ends = new Map<string, () => void>();

  constructor(private readonly _backend: Backend) {}

  /** Follow a query in place of the one that had this name before. */
  follow(name: string, path: string, args: Args, heard: (value: Json) => void, failed: (message: string) => void): void {
    this.end(name);
    this._ends.set(name, this._backend.follow(path, args, { value: heard, failed, linked: () => undefined }));
  }

  end(name: string): void {
    this._ends.get(name)?.();
    this._ends.delete(name);
  }

  close(): void {
    for (const name of [...this._ends.keys()]) {
      this.end(name);
    }
  }
}

/** A page with a message for when its query fails. */
export abstract class LivePage implements Page {
  readonly node: HTMLElement;
  protected readonly following: Following;
  protected readonly problem: HTMLElement;

  constructor(protected readonly around: Surroundings) {
    const { dom, backend } = around;
    this.following = new Following(backend);
    this.problem = dom.make('div', { class: 'nbr-panel-problem', attrs: { role: 'alert' } });
    this.problem.hidden = true;
    this.node = dom.make('div', { class: 'nbr-panel-page' }, this.problem);
  }

  abstract show(): void;

  hide(): void {
    this.following.close();
  }

  protected follow(name: string, path: string, args: Args, heard: (value: Json) => void): void {
    this.following.follow(
      name,
      path,
      args,
      value => {
        this.problem.hidden = true;
        heard(value);
      },
      message => {
        this.problem.textContent = message;
        this.problem.hidden = false;
      },
    );
  }

  /** Do something once, with the button out of action meanwhile, and say what became of it. */
  protected async run(button: HTMLButtonElement | null, work: () => Promise<unknown>, done = ''): Promise<boolean> {
    button?.setAttribute('aria-disabled', 'true');
    this.around.tell('');
    try {
      await work();
      this.around.tell(done);
      return true;
    } catch (error) {
      this.around.tell(error instanceof Error ? error.message : String(error), true);
      return false;
    } finally {
      button?.removeAttribute('aria-disabled');
    }
  }

  /** A button that asks once more before it does what cannot be undone. */
  protected sure(label: string, act: (button: HTMLButtonElement) => void, name = label): HTMLButtonElement {
    const { dom, say } = this.around;
    let asked = false;
    const ask = (now: boolean) => {
      asked = now;
      button.textContent = now ? say('Really?') : label;
      button.setAttribute('aria-label', now ? `${say('Really?')} ${name}` : name);
      button.classList.toggle('nbr-mod-sure', now);
    };
    const button = dom.button(label, () => {
      if (button.getAttribute('aria-disabled') === 'true') {
        return;
      }
      ask(!asked);
      if (!asked) {
        act(button);
      }
    });
    button.setAttribute('aria-label', name);
    button.addEventListener('blur', () => ask(false));
    return button;
  }
}
