/**
 * Keep the keys that are pressed in a widget from the notebook, whose shortcuts are letters, too: `b` in a list of choices would
 * insert a cell.
 *
 * (`data-lm-suppress-shortcuts` on a node does this for the node itself only: a shortcut for whatever has the focus is found
 * before the nodes around that are looked at.) What is pressed with Ctrl, Alt or Cmd, and Escape, is the page's.
 */
export function keepKeys(node: HTMLElement): void {
  node.addEventListener('keydown', event => {
    if (!event.ctrlKey && !event.metaKey && !event.altKey && event.key !== 'Escape') {
      event.stopPropagation();
    }
  });
}
