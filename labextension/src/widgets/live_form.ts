/** `nbreactive.LiveForm` as an anywidget: whoever looks at the page calls the function, and the kernel hears of it. */

import type { AnyModel, RenderProps } from '@anywidget/types';
import { backendFor, callOver, Relay, type Kind } from '../connection/calling';
import type { Args, Json } from '../connection/page';
import { isRecord } from '../records';
import { Form, type FormOptions } from '../views/form';

export interface FormModel extends Record<string, unknown> {
  path: string;
  kind: Kind;
  /** The validator of the arguments. */
  args: unknown;
  fixed: Args;
  options: unknown;
  /** Where the deployment is. */
  place: unknown;
}

function readOptions(model: AnyModel<FormModel>): FormOptions {
  const options = isRecord(model.get('options')) ? (model.get('options') as Record<string, unknown>) : {};
  const text = (name: string) => (typeof options[name] === 'string' ? (options[name] as string) : '');
  const texts = isRecord(options.labels) ? Object.entries(options.labels).map(([name, label]) => [name, String(label)]) : [];
  return {
    title: text('title'),
    note: text('note'),
    args: model.get('args'),
    fixed: Object.keys(model.get('fixed') ?? {}),
    initial: isRecord(options.initial) ? (options.initial as Args) : {},
    labels: Object.fromEntries(texts) as Record<string, string>,
    multiline: Array.isArray(options.multiline) ? options.multiline.map(String) : [],
    submit: text('submit') || 'Send',
    success: text('success'),
    reset: options.reset !== false,
  };
}

export default () => {
  function render({ model, el, signal }: RenderProps<FormModel>): void {
    const relay = new Relay<FormModel>(model);
    const submit = async (given: Args): Promise<Json> => {
      const args = { ...given, ...model.get('fixed') };
      const backend = backendFor(model.get('place'));
      if (backend === null) {
        return relay.call({ args: given });
      }
      const value = await callOver(backend, model.get('kind'), model.get('path'), args);
      model.send({ type: 'result', args: given, value });
      return value;
    };
    let form = new Form(el.ownerDocument, readOptions(model), submit);
    el.append(form.node);
    const paint = () => {
      const next = new Form(el.ownerDocument, readOptions(model), submit);
      form.node.replaceWith(next.node);
      form = next;
    };
    model.on('change:args', paint);
    model.on('change:options', paint);
    signal.addEventListener('abort', () => {
      model.off('change:args', paint);
      model.off('change:options', paint);
      relay.close();
      form.node.remove();
    });
  }

  return { render };
};
