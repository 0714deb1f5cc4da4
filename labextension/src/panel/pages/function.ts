/** One function: signature, measurements, source, and a form to run it with; the result of a query is live. */

import type { Args, Json } from '../../connection/page';
import { Form } from '../../views/form';
import { LivePage, type Surroundings } from '../page';
import { count, describeFields, describeValidator, duration, labelsOf, number, record, text, type Fields } from '../values';
import { Result } from './result';

export class FunctionPage extends LivePage {
  readonly path: string;
  private readonly _title: HTMLElement;
  private readonly _signature: HTMLElement;
  private readonly _doc: HTMLElement;
  private readonly _measured: HTMLElement;
  private readonly _source: HTMLElement;
  private readonly _origin: HTMLElement;
  private readonly _runner: HTMLElement;
  private readonly _result: Result;
  private _fn: Fields = {};
  private _asked: Args | null = null;

  constructor(around: Surroundings, fn: Fields, back: () => void) {
    super(around);
    const { dom, say, roles } = around;
    this.path = text(fn.path);
    this._title = dom.make('h3', { attrs: { tabindex: '-1' } }, this.path);
    this._signature = dom.make('code', { class: 'nbr-panel-code' });
    this._doc = dom.make('p', { class: 'nbr-panel-quiet' });
    this._measured = dom.make('p', { class: 'nbr-panel-quiet' });
    this._source = dom.make('pre', { class: 'nbr-panel-source', attrs: { tabindex: '0', 'aria-label': say('Source') } });
    this._origin = dom.make('div', { class: 'nbr-panel-quiet' });
    this._runner = dom.make('div');
    this._result = new Result(dom, say);
    const source = dom.make('details', {}, dom.make('summary', {}, say('Source')), this._origin, this._source);
    source.hidden = !roles.has('deploy');
    source.addEventListener('toggle', () => (source.open ? this._readSource() : this.following.end('source')));
    this.node.append(
      dom.make('div', { class: 'nbr-panel-bar' }, dom.button(say('← Functions'), back), this._title),
      this._signature,
      this._doc,
      this._measured,
      source,
      this._runner,
      this._result.node,
    );
    this.describe(fn);
  }

  focus(): void {
    this._title.focus();
  }

  show(): void {
    if (this._asked !== null) {
      this._followResult(this._asked);
    }
  }

  /** It may be deployed anew while somebody looks: then its form is made anew only if it takes something else. */
  describe(fn: Fields): void {
    const before = this._fn;
    this._fn = fn;
    const args = record(fn.args).type === 'object' ? describeFields(fn.args) : describeValidator(fn.args);
    const returns = fn.returns ? ` → ${describeValidator(fn.returns)}` : '';
    this._signature.textContent = `${text(fn.visibility)} ${text(fn.kind)} ${this.path.split(':')[1] ?? ''}(${args})${returns}`;
    this._doc.textContent = text(fn.doc);
    if (JSON.stringify(before.args) !== JSON.stringify(fn.args) || before.kind !== fn.kind) {
      this._makeRunner();
    }
  }

  measure(row: Fields): void {
    const { say } = this.around;
    this._measured.textContent =
      row.calls === undefined
        ? ''
        : say(
            '%1 calls, %2 errors, %3 from the cache, half of them within %4, 99 % within %5',
            count(row.calls),
            count(row.errors),
            count(row.hits),
            duration(row.p50),
            duration(row.p99),
          );
  }

  private _makeRunner(): void {
    const { dom, say, roles } = this.around;
    const kind = text(this._fn.kind);
    if (kind === 'http_action') {
      this._runner.replaceChildren(dom.make('p', {}, say('HTTP actions are run by requests to their address.')));
      return;
    }
    if (kind !== 'query' && !roles.has('write')) {
      this._runner.replaceChildren(dom.make('p', {}, say('You may look here, and not run what writes.')));
      return;
    }
    const form = new Form(
      dom.document,
      {
        title: say('Run'),
        note: '',
        args: this._fn.args,
        fixed: [],
        initial: {},
        labels: labelsOf(this._fn.args),
        multiline: [],
        submit: kind === 'query' ? say('Follow') : say('Run'),
        success: kind === 'query' ? say('live below') : say('done'),
        reset: false,
      },
      args => this._run(kind, args),
    );
    this._runner.replaceChildren(form.node);
  }

  private async _run(kind: string, args: Args): Promise<Json> {
    const { backend, say } = this.around;
    if (kind === 'query') {
      this._asked = args;
      this._result.wait();
      this._followResult(args);
      return null;
    }
    this._asked = null;
    this.following.end('result');
    const began = performance.now();
    try {
      const value = await (kind === 'mutation' ? backend.mutate(this.path, args) : backend.act(this.path, args));
      this._result.show(value, say('result, after %1', duration(performance.now() - began)));
      return null;
    } catch (error) {
      this._result.fail(error instanceof Error ? error.message : String(error));
      throw error;
    }
  }

  private _followResult(args: Args): void {
    const { say } = this.around;
    this.following.follow(
      'result',
      this.path,
      args,
      value => this._result.show(value, say('live')),
      message => this._result.fail(message),
    );
  }

  private _readSource(): void {
    const module = this.path.split(':')[0]!;
    this.follow('source', '_system/panel:source', { module }, value => {
      const { dom, say } = this.around;
      const found = record(value);
      const origin = record(found.origin);
      this._origin.textContent = say('%1, version %2, by %3', text(origin.label) || text(origin.kind), number(found.version), text(found.author));
      const line = number(this._fn.line);
      const lines = text(found.source).split('\n').slice(0, 5000);
      this._source.replaceChildren(
        ...lines.map((written, i) => dom.make('span', { class: i + 1 === line ? 'nbr-mod-here' : '' }, `${written}\n`)),
      );
      const here = this._source.children[Math.max(line - 2, 0)] as HTMLElement | undefined;
      this._source.scrollTop = here ? here.offsetTop - this._source.offsetTop : 0;
    });
  }
}
