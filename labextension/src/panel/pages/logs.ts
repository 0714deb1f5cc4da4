/** Calls as they happen, newest first; one of them is opened to read all that it said. */

import { Rows } from '../rows';
import { LivePage, type Surroundings } from '../page';
import type { Args } from '../../connection/page';
import { duration, number, records, text, moment, type Fields } from '../values';

const ROWS = 200;
/** Milliseconds without a key after which what was typed is asked for. */
const TYPED = 250;

export class LogsPage extends LivePage {
  private readonly _function: HTMLInputElement;
  private readonly _level: HTMLSelectElement;
  private readonly _text: HTMLInputElement;
  private readonly _system: HTMLInputElement;
  private readonly _rows: Rows<Fields>;
  private readonly _detail: HTMLElement;
  private readonly _pause: HTMLButtonElement;
  private _typing: ReturnType<typeof setTimeout> | undefined;
  private _paused = false;

  constructor(around: Surroundings) {
    super(around);
    const { dom, say } = around;
    const typed = { on: { input: () => this._soon() } };
    this._function = dom.input(say('Function or module'), { ...typed, attrs: { placeholder: say('function or module') } });
    this._text = dom.input(say('Text or request id'), { ...typed, attrs: { placeholder: say('text or request id') } });
    this._level = dom.select(say('Level'), [
      ['', say('every call')],
      ['warn', say('warnings and errors')],
      ['error', say('errors')],
    ]);
    this._level.addEventListener('change', () => this.show());
    this._system = dom.make('input', { on: { change: () => this.show() } });
    this._system.type = 'checkbox';
    this._pause = dom.button(say('Pause'), () => this._toggle(), { attrs: { 'aria-pressed': 'false' } });
    this._rows = new Rows<Fields>(dom, {
      label: say('Calls'),
      empty: say('no calls'),
      key: call => text(call.number),
      open: call => this._open(call),
      columns: [
        { name: 'at', label: say('Time'), text: call => moment(number(call.at) * 1000) },
        { name: 'path', label: say('Function'), text: call => text(call.path), title: call => text(call.path) },
        { name: 'said', label: say('Said'), text: said },
        { name: 'ms', label: say('Took'), text: call => duration(call.duration_ms), number: true },
      ],
      kind: call => ['', '', 'nbr-mod-warned', 'nbr-mod-failed'][number(call.level)] ?? '',
    });
    this._detail = dom.make('section', {
      class: 'nbr-panel-editor',
      attrs: { 'aria-label': say('Call'), tabindex: '-1' },
      on: { keydown: event => event.key === 'Escape' && this._close() },
    });
    this._detail.hidden = true;
    this.node.append(
      dom.make(
        'div',
        { class: 'nbr-panel-bar' },
        this._function,
        this._text,
        this._level,
        dom.field(say('system'), this._system),
        this._pause,
      ),
      this._detail,
      this._rows.node,
    );
  }

  show(): void {
    if (this._paused) {
      return;
    }
    const args: Args = { limit: ROWS };
    const given: Record<string, string> = {
      function: this._function.value.trim(),
      text: this._text.value.trim(),
      level: this._level.value,
    };
    for (const [name, value] of Object.entries(given)) {
      if (value) {
        args[name] = value;
      }
    }
    if (this._system.checked) {
      args.system = true;
    }
    this.follow('logs', '_system/panel:logs', args, value => this._rows.update(records(value)));
  }

  override hide(): void {
    clearTimeout(this._typing);
    super.hide();
  }

  private _soon(): void {
    clearTimeout(this._typing);
    this._typing = setTimeout(() => this.show(), TYPED);
  }

  private _toggle(): void {
    const { say } = this.around;
    this._paused = !this._paused;
    this._pause.setAttribute('aria-pressed', String(this._paused));
    this._pause.textContent = this._paused ? say('Go on') : say('Pause');
    if (this._paused) {
      this.following.close();
    } else {
      this.show();
    }
  }

  private _open(call: Fields): void {
    const { dom, say } = this.around;
    const fact = (name: string, value: string) => [dom.make('dt', {}, name), dom.make('dd', {}, value)];
    const id = text(call.request_id);
    const lines = linesOf(call).join('\n');
    this._detail.replaceChildren(
      dom.make(
        'div',
        { class: 'nbr-panel-bar' },
        dom.make('strong', {}, text(call.path)),
        dom.button(say('Only this request'), () => {
          this._text.value = id;
          this.show();
        }),
        dom.button(say('Close'), () => this._close()),
      ),
      dom.make(
        'dl',
        { class: 'nbr-panel-facts' },
        ...fact(say('Request'), id),
        ...fact(say('Kind'), text(call.kind)),
        ...fact(say('Caller'), text(call.caller)),
        ...fact(say('Time'), `${moment(number(call.at) * 1000)} · ${duration(call.duration_ms)}`),
      ),
      ...(text(call.message) ? [dom.make('pre', { class: 'nbr-panel-source nbr-mod-failed' }, text(call.message))] : []),
      ...(lines ? [dom.make('pre', { class: 'nbr-panel-source' }, lines)] : []),
    );
    this._detail.hidden = false;
    this._detail.focus();
  }

  private _close(): void {
    this._detail.hidden = true;
    this._rows.node.focus();
  }
}

/** The lines of a call are pairs on the wire: level and text. */
function linesOf(call: Fields): string[] {
  const lines = Array.isArray(call.lines) ? call.lines : [];
  return lines.map(line => (Array.isArray(line) ? `[${text(line[0])}] ${text(line[1])}` : ''));
}

/** The error, or the last thing that was said. */
function said(call: Fields): string {
  const message = text(call.message).split('\n').find(line => line && !line.startsWith('[Request ID')) ?? '';
  const shown = message || linesOf(call).at(-1) || text(call.code);
  return shown.slice(0, 300);
}
