/** Tables with how many documents they have and how large they are; one of them is opened to be looked at and changed. */

import { Rows } from '../rows';
import { LivePage, type Surroundings } from '../page';
import { bytes, count, number, records, text, type Fields } from '../values';
import { TablePage } from './table';

export class DataPage extends LivePage {
  private readonly _tables: Rows<Fields>;
  private _open: TablePage | null = null;

  constructor(around: Surroundings) {
    super(around);
    const { dom, say } = around;
    this._tables = new Rows<Fields>(dom, {
      label: say('Tables'),
      empty: say('There are no tables yet: the first document that a function inserts makes one.'),
      key: table => text(table.name),
      open: table => this._show(text(table.name)),
      columns: [
        { name: 'name', label: say('Table'), text: table => text(table.name) },
        { name: 'count', label: say('Documents'), text: table => count(table.count), number: true },
        { name: 'bytes', label: say('Size'), text: table => bytes(table.bytes), number: true },
      ],
    });
    this.node.append(this._tables.node);
  }

  show(): void {
    if (this._open) {
      this._open.show();
      return;
    }
    this.follow('tables', '_system/tables:sizes', {}, value => {
      const shown = records(value).sort((a, b) => text(a.name).localeCompare(text(b.name)));
      this._tables.update(shown.filter(table => number(table.count) >= 0));
    });
  }

  override hide(): void {
    super.hide();
    this._open?.hide();
  }

  private _show(name: string): void {
    this.following.close();
    const back = () => {
      this._open?.hide();
      this._open = null;
      this.node.replaceChildren(this.problem, this._tables.node);
      this.show();
    };
    this._open = new TablePage(this.around, name, back);
    this.node.replaceChildren(this._open.node);
    this._open.show();
    this._open.focus();
  }
}
