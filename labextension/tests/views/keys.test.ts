import { expect, test } from 'vitest';
import { keepKeys } from '../../src/views/keys';

test('the control that has the focus keeps its keys from the notebook, whose shortcuts are looked up first', () => {
  const node = document.createElement('div');
  const select = document.createElement('select');
  node.append(select);
  document.body.append(node);
  keepKeys(node);
  const heard: boolean[] = [];
  const notebook = () => heard.push(select.hasAttribute('data-lm-suppress-shortcuts'));
  document.addEventListener('keydown', notebook, true);
  const press = (key: string, more = {}) => select.dispatchEvent(new KeyboardEvent('keydown', { key, bubbles: true, ...more }));
  select.dispatchEvent(new FocusEvent('focusin', { bubbles: true }));
  press('b');
  press('s', { ctrlKey: true });
  press('Escape');
  expect(heard).toEqual([true, false, false]);
  node.remove();
  press('b');
  document.removeEventListener('keydown', notebook, true);
});
