/** A small box above everything else: it goes with Escape, or a click elsewhere, and gives the focus back. */

import { keepKeys } from '../keys';

export class Popup {
  private _node: HTMLElement | null = null;
  private _back: HTMLElement | null = null;

  constructor(private readonly _parent: HTMLElement) {}

  /** Open a box beside `anchor`, in the place of any other one. */
  open(name: string, anchor: Element, fill: (box: HTMLElement, close: () => void) => void): void {
    this.close();
    const document = this._parent.ownerDocument;
    const box = document.createElement('div');
    box.className = 'nbr-popup';
    box.setAttribute('role', 'dialog');
    box.setAttribute('aria-label', name);
    box.setAttribute('popover', 'auto');
    // Jupyter has keys of its own: Escape is ours, here, and letters are in lists of choices, too
    box.setAttribute('data-lm-suppress-shortcuts', 'true');
    keepKeys(box);
    fill(box, () => this.close());
    this._back = focused(document, this._parent);
    this._node = box;
    this._parent.append(box);
    box.showPopover?.();
    this._place(box, anchor.getBoundingClientRect());
    box.addEventListener('keydown', event => {
      event.stopPropagation();
      if (event.key === 'Escape') {
        event.preventDefault();
        this.close();
      }
    });
    box.addEventListener('toggle', event => {
      if ((event as ToggleEvent).newState === 'closed' && this._node === box) {
        this._node = null;
        box.remove();
      }
    });
    box.querySelector<HTMLElement>('input, button, [tabindex]')?.focus();
  }

  close(): void {
    const [node, back] = [this._node, this._back];
    this._node = this._back = null;
    if (node !== null) {
      const within = node.contains(node.ownerDocument.activeElement) || node.getRootNode() !== node.ownerDocument;
      node.remove();
      if (within) {
        back?.focus();
      }
    }
  }

  private _place(box: HTMLElement, beside: DOMRect): void {
    const { innerWidth, innerHeight } = box.ownerDocument.defaultView ?? { innerWidth: 1280, innerHeight: 800 };
    const { width, height } = box.getBoundingClientRect();
    const below = beside.bottom + height <= innerHeight;
    box.style.top = `${Math.max(4, below ? beside.bottom : Math.min(beside.top - height, innerHeight - height - 4))}px`;
    box.style.left = `${Math.max(4, Math.min(beside.left, innerWidth - width - 4))}px`;
  }
}

/** What has the focus, also within a shadow root. */
function focused(document: Document, node: HTMLElement): HTMLElement | null {
  const root = node.getRootNode() as Document | ShadowRoot;
  return ((root.activeElement ?? document.activeElement) as HTMLElement | null) ?? null;
}

export function button(parent: HTMLElement, text: string, click: () => void): HTMLButtonElement {
  const node = parent.ownerDocument.createElement('button');
  node.type = 'button';
  node.textContent = text;
  node.addEventListener('click', click);
  parent.append(node);
  return node;
}
