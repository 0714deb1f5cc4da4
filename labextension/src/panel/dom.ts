/** Elements in few words. What is data goes into them as text, never as HTML. */

export type Child = Node | string | null | undefined | false;

type Handlers = { [K in keyof HTMLElementEventMap]?: (event: HTMLElementEventMap[K]) => void };

export interface Props {
  readonly class?: string;
  readonly title?: string;
  /** Attributes, `aria-...` and the like. */
  readonly attrs?: Readonly<Record<string, string>>;
  readonly on?: Handlers;
}

/** Texts of more characters are cut where they are shown. */
const LONGEST = 20_000;

export class Dom {
  constructor(readonly document: Document) {}

  make<K extends keyof HTMLElementTagNameMap>(
    tag: K,
    props: Props = {},
    ...children: readonly Child[]
  ): HTMLElementTagNameMap[K] {
    const node = this.document.createElement(tag);
    if (props.class) {
      node.className = props.class;
    }
    if (props.title) {
      node.title = props.title;
    }
    for (const [name, value] of Object.entries(props.attrs ?? {})) {
      node.setAttribute(name, value);
    }
    for (const [name, handler] of Object.entries(props.on ?? {})) {
      node.addEventListener(name, handler as EventListener);
    }
    node.append(...children.filter((child): child is Node | string => child instanceof Object || typeof child === 'string'));
    return node;
  }

  button(label: string, act: () => void, props: Props = {}): HTMLButtonElement {
    const node = this.make('button', { class: 'nbr-panel-button', ...props }, label);
    node.type = 'button';
    node.addEventListener('click', act);
    return node;
  }

  /** A field with its label before it. */
  field<T extends HTMLElement>(label: string, control: T): HTMLLabelElement {
    return this.make('label', { class: 'nbr-panel-field' }, this.make('span', {}, label), control);
  }

  input(label: string, props: Props = {}): HTMLInputElement {
    const node = this.make('input', { class: 'nbr-panel-input', ...props });
    node.type = 'text';
    node.setAttribute('aria-label', label);
    node.autocomplete = 'off';
    node.spellcheck = false;
    return node;
  }

  select(label: string, options: readonly (readonly [value: string, label: string])[]): HTMLSelectElement {
    const node = this.make('select', { class: 'nbr-panel-input', attrs: { 'aria-label': label } });
    node.append(...options.map(([value, text]) => this.option(value, text)));
    return node;
  }

  option(value: string, label: string): HTMLOptionElement {
    const node = this.make('option', {}, label);
    node.value = value;
    return node;
  }
}

/** Change a text only if it is another one, so that what somebody has selected stays selected. */
export function setText(node: HTMLElement, text: string): void {
  const shown = text.length > LONGEST ? `${text.slice(0, LONGEST)}…` : text;
  if (node.textContent !== shown) {
    node.textContent = shown;
  }
}

/** Show a text, or nothing at all. */
export function setOptional(node: HTMLElement, text: string): void {
  setText(node, text);
  node.hidden = text === '';
}
