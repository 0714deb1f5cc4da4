const SUPPRESS = 'data-lm-suppress-shortcuts';

/**
 * Keep the keys that are pressed in a widget from the notebook, whose shortcuts are letters, too: `b` in a list of choices would
 * insert a cell. What is pressed with Ctrl, Alt or Cmd, and Escape, is the page's.
 *
 * Jupyter leaves out what has an attribute, but looks at the control that has the focus first, and only then at what is around
 * it; and Notebook 7 hears of keys before anything inside of the page does. So the control gets the attribute when the key comes.
 */
export function keepKeys(node: HTMLElement): void {
  const page = node.ownerDocument.defaultView;
  const mark = (event: KeyboardEvent) => {
    const { target } = event;
    if (!node.isConnected) {
      page?.removeEventListener('keydown', mark, true);
    } else if (target instanceof Element && node.contains(target)) {
      const ours = !event.ctrlKey && !event.metaKey && !event.altKey && event.key !== 'Escape';
      target.toggleAttribute(SUPPRESS, ours);
    }
  };
  node.addEventListener('focusin', () => page?.addEventListener('keydown', mark, true));
  node.addEventListener('focusout', () => page?.removeEventListener('keydown', mark, true));
}
