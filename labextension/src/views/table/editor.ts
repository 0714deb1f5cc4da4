/**
 * The field in which one cell is edited. It lies over the grid, since the cells below belong to other rows as soon as somebody
 * scrolls; its grid says where. Bad input keeps its text, and says what is wrong.
 */

import { keepKeys } from '../keys';
import type { Json } from '../../connection/page';
import { editText, parse, type Field } from './parsing';
import { wholeText } from './formats';

export interface Editing {
  readonly name: string;
  readonly field: Field;
  readonly value: unknown;
  /** What stands in the field at first, if not the value. */
  readonly text?: string | undefined;
  /** What was wrong with it the last time. */
  readonly problem?: string | undefined;
}

/** Where to go on after it. */
export type Next = 'down' | 'right' | 'left' | 'stay';

export interface EditorHooks {
  commit(value: Json): void;
  /** It is over. */
  closed(next: Next): void;
}

export class Editor {
  private _box: HTMLElement | null = null;
  private _input: HTMLInputElement | HTMLSelectElement | null = null;
  private _end: ((next: Next | null) => void) | null = null;

  constructor(private readonly _stage: HTMLElement) {}

  get open(): boolean {
    return this._box !== null;
  }

  start(editing: Editing, hooks: EditorHooks): void {
    this.close();
    const document = this._stage.ownerDocument;
    const box = (this._box = document.createElement('div'));
    box.className = 'nbr-editor';
    // Jupyter has keys of its own: Escape is ours, here, and letters are in lists of choices, too
    box.setAttribute('data-lm-suppress-shortcuts', 'true');
    keepKeys(box);
    const { field } = editing;
    const choices = choicesOf(field);
    const input = choices.length > 0 ? select(document, choices, field, editing) : text(document, editing);
    input.setAttribute('aria-label', editing.name);
    const trouble = document.createElement('div');
    trouble.className = 'nbr-trouble';
    trouble.setAttribute('role', 'alert');
    trouble.id = `${Math.random().toString(36).slice(2)}-trouble`;
    input.setAttribute('aria-describedby', trouble.id);
    box.append(input, trouble);
    this._input = input;
    const complain = (problem: string) => {
      trouble.textContent = problem;
      trouble.hidden = problem === '';
      input.setAttribute('aria-invalid', String(problem !== ''));
    };
    complain(editing.problem ?? '');
    const begun = input.value;
    /** null: what was typed counts if it is right, and is let go of if it is not. */
    const end = (next: Next | null, cancelled = false): void => {
      if (this._box !== box) {
        return;
      }
      const changed = !cancelled && (input.value !== begun || editing.text !== undefined);
      const parsed = changed ? read(input.value, choices, field, editing.value) : null;
      if (parsed !== null && 'problem' in parsed) {
        complain(parsed.problem);
        if (next !== null) {
          return;
        }
      }
      this._box = this._input = this._end = null;
      box.remove();
      if (parsed !== null && 'value' in parsed && JSON.stringify(parsed.value) !== JSON.stringify(editing.value ?? null)) {
        hooks.commit(parsed.value);
      }
      if (next !== null) {
        hooks.closed(next);
      }
    };
    this._end = next => end(next);
    box.addEventListener('keydown', event => {
      event.stopPropagation();
      if ((event as KeyboardEvent).isComposing) {
        return; // Enter ends a word of Korean, Chinese or Japanese
      }
      const next = event.key === 'Enter' ? 'down' : event.key === 'Tab' ? (event.shiftKey ? 'left' : 'right') : null;
      if (event.key === 'Escape') {
        event.preventDefault();
        end('stay', true);
      } else if (next !== null) {
        event.preventDefault();
        end(next);
      }
    });
    input.addEventListener('input', () => complain(''));
    input.addEventListener('blur', () => {
      // Elsewhere in the page; bad input waits for whoever comes back
      queueMicrotask(() => {
        const parsed = input.value !== begun ? read(input.value, choices, field, editing.value) : null;
        if (parsed === null || 'value' in parsed) {
          end(null);
        } else {
          complain(parsed.problem);
        }
      });
    });
    this._stage.append(box);
    input.focus();
    if (input.tagName === 'INPUT' && editing.text === undefined) {
      (input as HTMLInputElement).select();
    }
  }

  /** Lie over a cell; null: it is out of sight. */
  place(cell: { left: number; top: number; width: number; height: number } | null): void {
    if (this._box === null || this._input === null) {
      return;
    }
    const { style } = this._box;
    style.visibility = cell === null ? 'hidden' : '';
    if (cell !== null) {
      style.left = `${cell.left}px`;
      style.top = `${cell.top}px`;
      this._input.style.width = `${Math.max(cell.width, 80)}px`;
      this._input.style.height = `${cell.height}px`;
    }
  }

  /** End it: what was typed counts, if it is right. */
  close(): void {
    this._end?.(null);
  }
}

function text(document: Document, { value, field, text: given }: Editing): HTMLInputElement {
  const input = document.createElement('input');
  input.type = 'text';
  input.value = given ?? editText(value, field);
  input.autocomplete = 'off';
  if (field.kind === 'number' || field.kind === 'integer') {
    input.inputMode = field.kind === 'integer' ? 'numeric' : 'decimal';
  }
  return input;
}

function choicesOf(field: Field): readonly Json[] {
  const choices = field.kind === 'boolean' && field.options.length === 0 ? [true, false] : field.options;
  return choices.length > 0 && field.nullable && !choices.includes(null) ? [...choices, null] : choices;
}

function select(document: Document, choices: readonly Json[], _: Field, { value }: Editing): HTMLSelectElement {
  const input = document.createElement('select');
  const at = choices.findIndex(choice => JSON.stringify(choice) === JSON.stringify(value ?? null));
  choices.forEach((choice, i) => {
    const option = document.createElement('option');
    option.value = String(i);
    option.textContent = choice === null ? 'null' : wholeText(choice);
    input.append(option);
  });
  if (at < 0) {
    const option = document.createElement('option');
    option.value = '';
    option.textContent = '';
    input.prepend(option);
  }
  input.value = at < 0 ? '' : String(at);
  return input;
}

function read(typed: string, choices: readonly Json[], field: Field, before: unknown) {
  if (choices.length > 0) {
    return typed === '' ? { problem: 'choose one' } : { value: choices[Number(typed)]! };
  }
  return parse(typed, field, before);
}
