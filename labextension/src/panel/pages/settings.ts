/** Environment variables, of which the values are hidden until somebody asks for one; and what one may do here. */

import { Rows } from '../rows';
import { LivePage, type Role, type Surroundings } from '../page';
import { number, records, text, type Fields } from '../values';

const ROLES: readonly Role[] = ['read', 'write', 'deploy', 'admin'];

export class SettingsPage extends LivePage {
  private readonly _variables: Rows<Fields>;

  constructor(around: Surroundings) {
    super(around);
    const { dom, say, roles, mount } = around;
    this._variables = new Rows<Fields>(dom, {
      label: say('Environment variables'),
      empty: say('none'),
      key: variable => text(variable.name),
      columns: [
        { name: 'name', label: say('Name'), text: variable => text(variable.name) },
        {
          name: 'value',
          label: say('Value'),
          make: row => this._makeValue(row),
          refresh: (node, variable) => {
            if (node.children[1]!.getAttribute('aria-pressed') === 'false') {
              node.children[0]!.textContent = say('%1 characters', number(variable.length));
            }
          },
        },
        {
          name: 'remove',
          label: '',
          make: row =>
            this.sure(
              say('Remove'),
              button => void this.run(button, () => this._set(text(row().name), null), say('%1 was removed.', text(row().name))),
              say('Remove %1', text(row().name)),
            ),
        },
      ],
    });
    if (roles.has('deploy')) {
      this.node.append(dom.make('h3', {}, say('Environment variables')), this._makeForm(), this._variables.node);
    }
    this.node.append(
      dom.make('h3', {}, say('This deployment')),
      dom.make(
        'dl',
        { class: 'nbr-panel-facts' },
        dom.make('dt', {}, say('Address')),
        dom.make('dd', {}, mount),
        dom.make('dt', {}, say('You may')),
        dom.make('dd', {}, ROLES.filter(role => roles.has(role)).join(', ')),
      ),
    );
  }

  show(): void {
    if (this.around.roles.has('deploy')) {
      this.follow('variables', '_system/panel:variables', {}, value => this._variables.update(records(value)));
    }
  }

  private _set(name: string, value: string | null): Promise<unknown> {
    return this.around.backend.act('_system/panel:set_variable', { name, value });
  }

  private _makeValue(row: () => Fields): HTMLElement {
    const { dom, say } = this.around;
    const shown = dom.make('code', { class: 'nbr-panel-secret' });
    const name = text(row().name);
    const button = dom.button(
      say('Show'),
      () => {
        const open = button.getAttribute('aria-pressed') === 'false';
        button.setAttribute('aria-pressed', String(open));
        button.textContent = open ? say('Hide') : say('Show');
        if (open) {
          this.follow(`value ${name}`, '_system/panel:variable', { name }, value => (shown.textContent = text(value)));
        } else {
          this.following.end(`value ${name}`);
          shown.textContent = say('%1 characters', number(row().length));
        }
      },
      { class: 'nbr-panel-button', attrs: { 'aria-pressed': 'false', 'aria-label': say('Show the value of %1', name) } },
    );
    return dom.make('span', { class: 'nbr-panel-actions' }, shown, button);
  }

  private _makeForm(): HTMLElement {
    const { dom, say } = this.around;
    const name = dom.input(say('Name'), { attrs: { placeholder: say('NAME') } });
    const value = dom.input(say('Value'), { attrs: { placeholder: say('value') } });
    const set = dom.button(say('Set'), () => undefined);
    set.type = 'submit';
    const form = dom.make('form', { class: 'nbr-panel-bar', attrs: { 'aria-label': say('Set a variable') } }, name, value, set);
    form.addEventListener('submit', event => {
      event.preventDefault();
      const [called, given] = [name.value.trim(), value.value];
      if (called) {
        void this.run(set, () => this._set(called, given), say('%1 was set.', called)).then(done => {
          if (done) {
            name.value = value.value = '';
          }
        });
      }
    });
    return form;
  }
}
