/** What a function has returned: a list of objects as a table, everything else as JSON. */

import { cellText } from '../../views/cell_text';
import { isRecord } from '../../records';
import type { Json } from '../../connection/page';
import { setText, type Dom } from '../dom';
import type { Say } from '../page';
import { Rows, type Column } from '../rows';
import type { Fields } from '../values';

const ROWS = 200;
const COLUMNS = 30;

interface Row {
  readonly key: string;
  readonly fields: Fields;
}

export class Result {
  readonly node: HTMLElement;
  private readonly _state: HTMLElement;
  private readonly _text: HTMLElement;
  private readonly _rows: Rows<Row>;
  private _names = '';
  private _columns: readonly Column<Row>[] = [];

  constructor(dom: Dom, private readonly _say: Say) {
    this._state = dom.make('div', { class: 'nbr-panel-quiet', attrs: { role: 'status' } });
    this._text = dom.make('pre', { class: 'nbr-panel-source', attrs: { tabindex: '0', 'aria-label': _say('Result') } });
    this._rows = new Rows<Row>(dom, { label: _say('Result'), empty: _say('no rows'), key: ({ key }) => key, columns: [] });
    this.node = dom.make('section', { class: 'nbr-panel-result', attrs: { 'aria-label': _say('Result') } });
    this.node.append(this._state, this._text, this._rows.node);
    this.node.hidden = true;
  }

  wait(): void {
    this._become(this._say('running'), false);
  }

  fail(message: string): void {
    this._become(this._say('error'), true);
    this._rows.node.hidden = true;
    this._text.hidden = false;
    setText(this._text, message);
  }

  show(value: Json, state: string): void {
    this._become(state, false);
    const rows = Array.isArray(value) && value.length > 0 && value.every(isRecord) ? (value as Fields[]) : null;
    this._rows.node.hidden = rows === null;
    this._text.hidden = rows !== null;
    if (rows === null) {
      setText(this._text, typeof value === 'string' ? value : JSON.stringify(value, null, 2));
      return;
    }
    const names = [...new Set(rows.slice(0, ROWS).flatMap(row => Object.keys(row)))].slice(0, COLUMNS);
    if (names.join('\n') !== this._names) {
      this._names = names.join('\n');
      this._columns = names.map(name => ({
        name,
        label: name,
        quiet: name.startsWith('_'),
        text: ({ fields }) => (fields[name] === undefined ? '' : cellText(fields[name]).slice(0, 200)),
      }));
    }
    const keyed = rows.slice(0, ROWS).map((fields, i) => ({ key: typeof fields._id === 'string' ? fields._id : String(i), fields }));
    this._rows.update(keyed, this._columns);
    if (rows.length > ROWS) {
      this._state.textContent = `${state}: ${this._say('the first %1 of %2 rows', ROWS, rows.length)}`;
    }
  }

  private _become(state: string, failed: boolean): void {
    this.node.hidden = false;
    this.node.classList.toggle('nbr-mod-failed', failed);
    this._state.textContent = state;
  }
}
