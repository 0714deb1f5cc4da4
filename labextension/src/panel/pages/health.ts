/** How the backend is: connections, how far behind anything is, disk, workers, what is slow. */

import { Rows } from '../rows';
import { LivePage, type Surroundings } from '../page';
import { setText } from '../dom';
import { bytes, count, duration, moment, number, record, records, text, type Fields } from '../values';

export class HealthPage extends LivePage {
  private readonly _facts: HTMLElement;
  private readonly _slow: Rows<Fields>;
  private readonly _slowPart: HTMLElement;
  private readonly _values = new Map<string, HTMLElement>();

  constructor(around: Surroundings) {
    super(around);
    const { dom, say } = around;
    this._facts = dom.make('dl', { class: 'nbr-panel-facts' });
    this._slow = new Rows<Fields>(dom, {
      label: say('Slow functions'),
      empty: say('nothing was called yet'),
      key: row => text(row.path),
      columns: [
        { name: 'path', label: say('Function'), text: row => text(row.path) },
        { name: 'p99', label: 'p99', text: row => duration(row.p99), number: true },
        { name: 'p50', label: 'p50', text: row => duration(row.p50), number: true },
        { name: 'calls', label: say('Calls'), text: row => count(row.calls), number: true },
      ],
    });
    this._slowPart = dom.make('div', {}, dom.make('h3', {}, say('Slow functions')), this._slow.node);
    this._slowPart.hidden = true;
    this.node.append(this._facts, this._slowPart);
  }

  show(): void {
    this.follow('health', 'nbreactive/panel:health', {}, value => this._paint(record(value)));
  }

  private _paint(health: Fields): void {
    const { say } = this.around;
    const runs = record(health.executions);
    this._fact(say('Deployment'), `${text(health.deployment)} (${text(health.mode)})`);
    this._fact(say('Version'), text(health.version));
    this._fact(say('Up since'), moment(health.started));
    this._fact(say('Connections'), count(health.connections));
    this._fact(say('Live queries'), count(health.subscriptions));
    this._fact(say('Functions'), say('%1, code version %2', count(health.functions), number(health.code_version)));
    this._fact(say('Runs'), say('%1 queries, %2 mutations', count(runs.queries), count(runs.mutations)));
    if (health.lag !== undefined) {
      this._paintPrivate(health);
    }
  }

  private _paintPrivate(health: Fields): void {
    const { say } = this.around;
    const lag = record(health.lag);
    const disk = record(health.disk);
    const workers = record(health.workers);
    const actions = record(health.actions);
    const columns = record(health.columns);
    const problem = record(health.problem);
    this._fact(say('Event loop'), say('%1 late', duration(lag.loop_ms)));
    this._fact(say('Not on disk yet'), say('%1 commits', count(lag.not_durable)));
    const behind = number(lag.columns_ms) > 0 ? say('%1 behind', duration(lag.columns_ms)) : say('up to date');
    this._fact('store.duckdb', columns.running === true ? behind : say('not running: %1', text(columns.error)));
    this._fact(say('Workers'), say('%1, %2 calls waiting, %3 stuck', count(workers.workers), count(workers.queued), count(workers.stuck)));
    this._fact(say('Actions'), say('%1 running', count(actions.running)));
    this._fact(say('Disk'), say('%1 of %2 free', bytes(disk.free), bytes(disk.total)));
    this._fact(say('Data'), say('log %1, index %2, store.duckdb %3', bytes(disk.log), bytes(disk.index), bytes(disk.store)));
    const gaps = Array.isArray(health.log_problems) ? health.log_problems.map(text) : [];
    const folder = Object.entries(record(health.folder_problems)).map(([file, why]) => `${file}: ${text(why)}`);
    const problems = [...gaps, ...folder, text(problem.message)].filter(said => said !== '');
    this._fact(say('Problems'), problems.join('\n') || say('none'), problems.length > 0);
    this._slow.update(records(health.slow));
    this._slowPart.hidden = false;
  }

  private _fact(name: string, value: string, bad = false): void {
    let shown = this._values.get(name);
    if (shown === undefined) {
      shown = this.around.dom.make('dd');
      this._values.set(name, shown);
      this._facts.append(this.around.dom.make('dt', {}, name), shown);
    }
    setText(shown, value);
    shown.className = bad ? 'nbr-mod-failed' : '';
  }
}
