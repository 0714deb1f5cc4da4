/** What was deployed when by whom, with what it changed, and going back; and what was committed by which function for whom. */

import { Rows } from '../rows';
import { LivePage, type Surroundings } from '../page';
import { moment, number, record, records, text, type Fields } from '../values';

interface Change {
  readonly version: number;
  readonly module: string;
  readonly time: number;
  readonly author: string;
  readonly message: string;
  readonly removed: boolean;
  readonly current: boolean;
}

export class HistoryPage extends LivePage {
  private readonly _deploys: Rows<Change>;
  private readonly _diff: HTMLElement;
  private readonly _commits: Rows<Fields>;
  private readonly _table: HTMLInputElement;

  constructor(around: Surroundings) {
    super(around);
    const { dom, say, backend } = around;
    this._diff = dom.make('section', { class: 'nbr-panel-editor', attrs: { 'aria-label': say('Difference'), tabindex: '-1' } });
    this._diff.hidden = true;
    this._deploys = new Rows<Change>(dom, {
      label: say('Deploys'),
      empty: say('nothing was deployed yet'),
      key: change => `${change.version} ${change.module}`,
      open: change => this._open(change),
      columns: [
        { name: 'version', label: say('Version'), text: change => `${change.version} ${change.module}` },
        { name: 'time', label: say('Time'), text: change => moment(change.time) },
        { name: 'author', label: say('By'), text: change => change.author, title: change => change.message },
        {
          name: 'back',
          label: '',
          make: row => {
            const button = this.sure(
              say('Go back'),
              pressed => {
                const { module, version } = row();
                const args = { module, version };
                void this.run(pressed, () => backend.act('_system/panel:roll_back', args), say('%1 is as in version %2.', module, version));
              },
              say('Go back to version %1 of %2', row().version, row().module),
            );
            return dom.make('span', {}, button, dom.make('span', { class: 'nbr-panel-quiet' }));
          },
          refresh: (node, { current, removed }) => {
            (node.children[0] as HTMLElement).hidden = current || removed;
            node.children[1]!.textContent = current ? say('current') : removed ? say('removed') : '';
          },
        },
      ],
    });
    this._table = dom.input(say('Table'), { attrs: { placeholder: say('every table') }, on: { change: () => this._followCommits() } });
    this._commits = new Rows<Fields>(dom, {
      label: say('Commits'),
      empty: say('none'),
      key: commit => text(commit.ts),
      columns: [
        { name: 'at', label: say('Time'), text: commit => moment(Number(text(commit.ts)) / 1e6), title: commit => text(commit.at) },
        { name: 'function', label: say('Function'), text: commit => text(commit.function) || say('the backend') },
        { name: 'who', label: say('For'), text: commit => text(commit.who) },
        { name: 'tables', label: say('Did'), text: commit => describeCounts(record(commit.tables)), title: commit => text(commit.request) },
        {
          name: 'undo',
          label: '',
          make: row =>
            this.sure(
              say('Undo'),
              button => {
                const commit = text(row().ts);
                void this.run(button, () => backend.act('_system/panel:undo', { commit }), say('It was undone.'));
              },
              say('Undo %1', text(row().function)),
            ),
        },
      ],
    });
    this.node.append(
      dom.make('h3', {}, say('Deploys')),
      this._diff,
      this._deploys.node,
      dom.make('div', { class: 'nbr-panel-bar' }, dom.make('h3', {}, say('Commits')), this._table),
      this._commits.node,
    );
  }

  show(): void {
    this.follow('deploys', '_system/panel:deploys', { limit: 100 }, value => {
      const { deploys, current } = record(value);
      this._deploys.update(changesOf(records(deploys), record(current)));
    });
    this._followCommits();
  }

  private _followCommits(): void {
    const table = this._table.value.trim();
    const args = table ? { limit: 100, table } : { limit: 100 };
    this.follow('commits', '_system/panel:commits', args, value => this._commits.update(records(value)));
  }

  private _open({ module, version, message }: Change): void {
    const { dom, say } = this.around;
    const close = () => {
      this.following.end('diff');
      this._diff.hidden = true;
    };
    const shown = dom.make('pre', { class: 'nbr-panel-source', attrs: { tabindex: '0', 'aria-label': say('Difference') } });
    this._diff.replaceChildren(
      dom.make('div', { class: 'nbr-panel-bar' }, dom.make('strong', {}, `${module} ${version}`), dom.button(say('Close'), close)),
      dom.make('div', { class: 'nbr-panel-quiet' }, message),
      shown,
    );
    this._diff.hidden = false;
    this._diff.focus();
    this.follow('diff', '_system/panel:diff', { module, version }, value => {
      const lines = text(value).split('\n');
      shown.replaceChildren(...lines.map(line => dom.make('span', { class: kindOf(line) }, `${line}\n`)));
    });
  }
}

function changesOf(deploys: readonly Fields[], current: Fields): Change[] {
  return deploys.flatMap(deploy =>
    Object.entries(record(deploy.modules)).map(([module, found]) => ({
      version: number(deploy.version),
      module,
      time: number(deploy.time),
      author: text(deploy.author),
      message: text(deploy.message),
      removed: found === null,
      current: found !== null && current[module] === deploy.version,
    })),
  );
}

function kindOf(line: string): string {
  return line.startsWith('+') ? 'nbr-mod-added' : line.startsWith('-') ? 'nbr-mod-removed' : '';
}

/** "messages: 2 inserted, 1 deleted". */
export function describeCounts(tables: Fields): string {
  return Object.entries(tables)
    .map(([name, counts]) => {
      const said = Object.entries(record(counts)).filter(([, many]) => number(many) > 0);
      return `${name}: ${said.map(([what, many]) => `${number(many)} ${what}`).join(', ')}`;
    })
    .join('; ');
}
