/** Scheduled functions and cron jobs: when they run, how they went; run now, cancel. */

import { Rows } from '../rows';
import { LivePage, type Surroundings } from '../page';
import { moment, number, record, records, text, type Fields } from '../values';

export class JobsPage extends LivePage {
  private readonly _crons: Rows<Fields>;
  private readonly _jobs: Rows<Fields>;
  private readonly _state: HTMLSelectElement;

  constructor(around: Surroundings) {
    super(around);
    const { dom, say, backend } = around;
    this._crons = new Rows<Fields>(dom, {
      label: say('Cron jobs'),
      empty: say('no cron jobs'),
      key: cron => text(cron.name),
      columns: [
        { name: 'name', label: say('Cron job'), text: cron => text(cron.name), title: cron => text(cron.function) },
        { name: 'schedule', label: say('When'), text: cron => describeSchedule(record(cron.schedule)) },
        { name: 'next', label: say('Next'), text: cron => moment(cron.nextRun) },
        { name: 'last', label: say('Last'), text: lastRun, title: lastError },
        {
          name: 'run',
          label: '',
          make: row => {
            const button = dom.button(say('Run now'), () => {
              const name = text(row().name);
              void this.run(button, () => backend.act('_system/panel:run_cron', { name }), say('%1 is on its way.', name));
            });
            return button;
          },
          refresh: (node, cron) => node.setAttribute('aria-label', say('Run %1 now', text(cron.name))),
        },
      ],
      kind: cron => (lastError(cron) ? 'nbr-mod-failed' : ''),
    });
    this._state = dom.select(say('State'), [
      ['pending', say('waiting')],
      ['inProgress', say('running')],
      ['success', say('done')],
      ['failed', say('failed')],
      ['canceled', say('canceled')],
    ]);
    this._state.addEventListener('change', () => this._followJobs());
    this._jobs = new Rows<Fields>(dom, {
      label: say('Scheduled functions'),
      empty: say('none'),
      key: job => text(job._id),
      columns: [
        { name: 'name', label: say('Function'), text: job => text(job.name), title: job => JSON.stringify(job.args).slice(0, 500) },
        { name: 'at', label: say('Time'), text: job => moment(job.completedTime ?? job.scheduledTime) },
        { name: 'state', label: say('State'), text: describeState, title: job => text(record(job.state).error) },
        {
          name: 'do',
          label: '',
          make: row => {
            const now = dom.button(say('Run now'), () => this._act(now, 'run_job', row(), say('It is due now.')));
            const cancel = dom.button(say('Cancel'), () => this._act(cancel, 'cancel_job', row(), say('It was canceled.')));
            return dom.make('span', { class: 'nbr-panel-actions' }, now, cancel);
          },
          refresh: (node, job) => {
            const [now, cancel] = node.children;
            const kind = text(record(job.state).kind);
            (now as HTMLElement).hidden = kind !== 'pending';
            (cancel as HTMLElement).hidden = kind !== 'pending' && kind !== 'inProgress';
            now!.setAttribute('aria-label', say('Run %1 now', text(job.name)));
            cancel!.setAttribute('aria-label', say('Cancel %1', text(job.name)));
          },
        },
      ],
      kind: job => (record(job.state).kind === 'failed' ? 'nbr-mod-failed' : ''),
    });
    this.node.append(
      dom.make('h3', {}, say('Cron jobs')),
      this._crons.node,
      dom.make('div', { class: 'nbr-panel-bar' }, dom.make('h3', {}, say('Scheduled functions')), this._state),
      this._jobs.node,
    );
  }

  show(): void {
    this.follow('crons', '_system/panel:crons', {}, value => this._crons.update(records(value)));
    this._followJobs();
  }

  private _followJobs(): void {
    const args = { state: this._state.value, limit: 200 };
    this.follow('jobs', '_system/panel:jobs', args, value => this._jobs.update(records(value)));
  }

  private _act(button: HTMLButtonElement, what: string, job: Fields, done: string): void {
    void this.run(button, () => this.around.backend.act(`_system/panel:${what}`, { id: text(job._id) }), done);
  }
}

/** "every 30 s", "daily 02:00 UTC", "0 2 * * *". */
export function describeSchedule(schedule: Fields): string {
  const two = (value: unknown) => String(number(value)).padStart(2, '0');
  const clock = `${two(schedule.hourUTC)}:${two(schedule.minuteUTC)} UTC`;
  switch (schedule.type) {
    case 'interval': {
      const [unit, many] = Object.entries(schedule).find(([name]) => name !== 'type') ?? ['', 0];
      return `every ${number(many)} ${unit}`;
    }
    case 'hourly':
      return `hourly at :${two(schedule.minuteUTC)}`;
    case 'daily':
      return `daily ${clock}`;
    case 'weekly':
      return `${text(schedule.dayOfWeek)} ${clock}`;
    case 'monthly':
      return `day ${number(schedule.day)} ${clock}`;
    default:
      return text(schedule.cronExpr) || text(schedule.cron) || JSON.stringify(schedule);
  }
}

function describeState(job: Fields): string {
  const state = record(job.state);
  return state.error ? `${text(state.kind)}: ${text(state.error).split('\n')[0]}`.slice(0, 200) : text(state.kind);
}

function newest(cron: Fields): Fields {
  return records(cron.logs).reduce((last, log) => (number(log.ts) >= number(last.ts) ? log : last), {} as Fields);
}

function lastRun(cron: Fields): string {
  const log = newest(cron);
  return log.ts === undefined ? '' : `${moment(log.ts)} ${text(record(log.status).kind)}`;
}

function lastError(cron: Fields): string {
  return text(record(newest(cron).status).error);
}
