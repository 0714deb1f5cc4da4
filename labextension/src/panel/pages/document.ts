/** One document, to be added or changed: as a form where its table has a schema, else, or if one likes, as JSON. */

import type { Args, Json } from '../../connection/page';
import { Form } from '../../views/form';
import type { Surroundings } from '../page';
import { labelsOf, parseObject, record, text, type Fields } from '../values';

export interface Editing {
  readonly save: (document: Args) => Promise<Json>;
  readonly saved: () => void;
  readonly close: () => void;
  /** Null for a document that is not there yet. */
  readonly remove: (() => Promise<Json>) | null;
}

export class DocumentEditor {
  readonly node: HTMLElement;
  private readonly _body: HTMLElement;
  private readonly _said: HTMLElement;
  private _asForm: boolean;

  constructor(
    private readonly _around: Surroundings,
    private readonly _validator: unknown,
    private readonly _row: Fields | null,
    private readonly _editing: Editing,
  ) {
    const { dom, say } = _around;
    this._asForm = this._hasForm;
    this._body = dom.make('div');
    this._said = dom.make('div', { class: 'nbr-panel-problem', attrs: { role: 'alert' } });
    this._said.hidden = true;
    const title = _row === null ? say('New document') : text(_row._id);
    this.node = dom.make('section', {
      class: 'nbr-panel-editor',
      attrs: { 'aria-label': title },
      on: { keydown: event => event.key === 'Escape' && _editing.close() },
    });
    const other = dom.button('', () => {
      this._asForm = !this._asForm;
      other.textContent = this._asForm ? say('As JSON') : say('As a form');
      this._paint();
    });
    other.textContent = this._asForm ? say('As JSON') : say('As a form');
    other.hidden = !this._hasForm;
    this.node.append(
      dom.make('div', { class: 'nbr-panel-bar' }, dom.make('strong', {}, title), other, dom.button(say('Close'), _editing.close)),
      this._body,
      this._said,
    );
    if (_editing.remove !== null) {
      this.node.append(this._remover(_editing.remove));
    }
    this._paint();
  }

  focus(): void {
    this._body.querySelector<HTMLElement>('input, textarea, select, button')?.focus();
  }

  private get _hasForm(): boolean {
    return record(this._validator).type === 'object';
  }

  /** What people have written of the document. */
  private get _own(): Args {
    const given = Object.entries(this._row ?? {}).filter(([name]) => name !== '_id' && name !== '_creationTime');
    return Object.fromEntries(given) as Args;
  }

  private async _save(document: Args): Promise<Json> {
    const done = await this._editing.save(document);
    this._editing.saved();
    return done;
  }

  private _paint(): void {
    const { dom, say } = this._around;
    this._said.hidden = true;
    if (this._asForm) {
      const form = new Form(
        dom.document,
        {
          title: '',
          note: '',
          args: this._validator,
          fixed: [],
          initial: this._own,
          labels: labelsOf(this._validator),
          multiline: [],
          submit: say('Save'),
          success: say('saved'),
          reset: false,
        },
        document => this._save(document),
      );
      this._body.replaceChildren(form.node);
      return;
    }
    const area = dom.make('textarea', { class: 'nbr-panel-json', attrs: { 'aria-label': say('Document as JSON'), rows: '8' } });
    area.spellcheck = false;
    area.value = JSON.stringify(this._own, null, 2);
    const save = async () => {
      try {
        await this._save(parseObject(area.value));
      } catch (error) {
        this._said.textContent = error instanceof Error ? error.message : String(error);
        this._said.hidden = false;
      }
    };
    area.addEventListener('keydown', event => {
      if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) {
        event.preventDefault();
        void save();
      }
    });
    this._body.replaceChildren(area, dom.button(say('Save'), () => void save()));
  }

  private _remover(remove: () => Promise<Json>): HTMLElement {
    const { dom, say, tell } = this._around;
    let asked = false;
    const button = dom.button(say('Delete document'), () => {
      if (!asked) {
        asked = true;
        button.textContent = say('Really delete?');
        return;
      }
      remove().then(
        () => {
          this._editing.close();
          tell(say('The document was deleted.'));
        },
        (error: Error) => tell(error.message, true),
      );
    });
    button.addEventListener('blur', () => {
      asked = false;
      button.textContent = say('Delete document');
    });
    return button;
  }
}
