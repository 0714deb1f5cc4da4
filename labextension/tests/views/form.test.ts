import { afterEach, expect, test, vi } from 'vitest';
import { CallError, type Args, type Json } from '../../src/connection/page';
import { Form, type FormOptions } from '../../src/views/form';

type Field = { fieldType: object; optional?: boolean };
const text: Field = { fieldType: { type: 'string' } };
const number: Field = { fieldType: { type: 'number' } };
const literals = (...values: string[]) => ({ type: 'union', value: values.map(value => ({ type: 'literal', value })) });

let form: Form;
let sent: Args[];
let answer: (args: Args) => Promise<Json>;

function show(fields: Record<string, Field>, options: Partial<FormOptions> = {}): HTMLElement {
  sent = [];
  answer = async () => null;
  const value = Object.fromEntries(Object.entries(fields).map(([name, field]) => [name, { optional: false, ...field }]));
  form = new Form(
    document,
    {
      title: 'Answer',
      note: '',
      args: { type: 'object', value },
      fixed: [],
      initial: {},
      labels: {},
      multiline: [],
      submit: 'Send',
      success: '',
      reset: true,
      ...options,
    },
    args => {
      sent.push(args);
      return answer(args);
    },
  );
  document.body.replaceChildren(form.node);
  return form.node;
}

function control<E extends HTMLElement = HTMLInputElement>(label: string): E {
  const labels = [...form.node.querySelectorAll('label')];
  const found = labels.find(each => each.textContent!.replace(' optional', '').trim() === label)!;
  return (found.htmlFor ? document.getElementById(found.htmlFor) : found.querySelector('input')) as E;
}

function type(label: string, value: string): void {
  control(label).value = value;
  control(label).dispatchEvent(new Event('input', { bubbles: true }));
}

const submit = () => form.node.querySelector('form')!.dispatchEvent(new Event('submit', { cancelable: true }));
const said = () => form.node.querySelector('.nbr-form-said')!.textContent;
const problems = () =>
  [...form.node.querySelectorAll<HTMLElement>('.nbr-problem')].filter(node => !node.hidden).map(node => node.textContent);
const button = (name: string) =>
  [...form.node.querySelectorAll('button')].find(each => [each.textContent, each.getAttribute('aria-label')].includes(name))!;

afterEach(() => document.body.replaceChildren());

test('every field has a label, and what is wrong is said at it', async () => {
  show({ name: text, first_age: number }, { labels: { name: 'Your name' } });
  expect(control('Your name').getAttribute('aria-required')).toBe('true');
  type('First age', 'old');
  submit();
  expect(problems()).toEqual(['is missing; expected a string', "expected a number, got the string 'old'"]);
  expect(document.activeElement).toBe(control('Your name'));
  const described = control('First age').getAttribute('aria-describedby')!;
  expect(document.getElementById(described)!.textContent).toContain('expected a number');
  expect(control('First age').getAttribute('aria-invalid')).toBe('true');
  type('First age', '7');
  expect(problems()).toHaveLength(1);
  type('Your name', 'Ada');
  submit();
  await vi.waitFor(() => expect(said()).toBe('Done'));
  expect(sent).toEqual([{ name: 'Ada', first_age: 7 }]);
  expect(control('Your name').value).toBe('');
  expect(document.activeElement).toBe(control('Your name'));
});

test('what may be left out is left out, and null is not the same', async () => {
  const nullable = { type: 'union', value: [{ type: 'string' }, { type: 'null' }] };
  show({
    a: { ...text, optional: true },
    b: { fieldType: nullable },
    c: { fieldType: { type: 'boolean' } },
    d: { fieldType: { type: 'boolean' }, optional: true },
    e: { fieldType: { type: 'array', value: { type: 'string' } }, optional: true },
  });
  submit();
  await vi.waitFor(() => expect(sent).toEqual([{ b: null, c: false }]));
  control('E').click();
  submit();
  await vi.waitFor(() => expect(sent).toHaveLength(1 + 1));
  expect(sent[1]).toEqual({ b: null, c: false, e: [] });
});

test('one of a few values is chosen', async () => {
  show({ color: { fieldType: literals('red', 'green') }, size: { fieldType: literals('s', 'm'), optional: true } });
  const select = control<HTMLSelectElement>('Color');
  expect([...select.options].map(option => option.textContent)).toEqual(['Choose…', 'red', 'green']);
  submit();
  expect(problems()).toEqual(["is missing; expected the string 'red' or the string 'green'"]);
  select.value = '1';
  submit();
  await vi.waitFor(() => expect(sent).toEqual([{ color: 'green' }]));
});

test('objects, arrays and records have fields inside, and errors of the server find them', async () => {
  const address = { type: 'object', value: { city: { fieldType: { type: 'string' }, optional: false } } };
  const record = { type: 'record', keys: { type: 'string' }, values: { fieldType: { type: 'number' }, optional: false } };
  show({ address: { fieldType: address }, tags: { fieldType: { type: 'array', value: { type: 'string' } } }, votes: { fieldType: record } });
  type('City', 'Wien');
  button('Add to Tags').click();
  expect(document.activeElement).toBe(control('Tags 1'));
  type('Tags 1', 'a');
  button('Add to Tags').click();
  type('Tags 2', 'b');
  button('Remove Tags 1').click();
  button('Add to Votes').click();
  type('Key', 'yes');
  type('Value', '3');
  answer = async () => {
    throw new CallError("ArgumentError: args.tags[0]: too short");
  };
  submit();
  await vi.waitFor(() => expect(problems()).toEqual(['too short']));
  expect(sent).toEqual([{ address: { city: 'Wien' }, tags: ['b'], votes: { yes: 3 } }]);
  expect(document.activeElement).toBe(control('Tags 2'));
});

test('a union has a field for each kind', async () => {
  const point = { type: 'object', value: { x: { fieldType: { type: 'number' }, optional: false } } };
  show({ place: { fieldType: { type: 'union', value: [{ type: 'string' }, point] } } });
  const kind = form.node.querySelector<HTMLSelectElement>('[aria-label="Kind of Place"]')!;
  expect([...kind.options].map(option => option.textContent)).toEqual(['a string', 'an object']);
  kind.value = '1';
  kind.dispatchEvent(new Event('change'));
  type('X', '2');
  submit();
  await vi.waitFor(() => expect(sent).toEqual([{ place: { x: 2 } }]));
});

test('errors of a function are said at the field that its data name, else below the form, as text', async () => {
  show({ name: text }, { reset: false });
  type('Name', 'x');
  answer = async () => {
    throw new CallError('taken', { field: 'name', message: 'is taken' });
  };
  submit();
  await vi.waitFor(() => expect(problems()).toEqual(['is taken']));
  answer = async () => {
    throw new CallError('<img src=x onerror=alert(1)>');
  };
  type('Name', 'y');
  submit();
  await vi.waitFor(() => expect(said()).toBe('<img src=x onerror=alert(1)>'));
  expect(form.node.querySelector('img')).toBeNull();
  expect(control('Name').value).toBe('y');
});

test('a form is sent once at a time', async () => {
  show({ name: { ...text, optional: true } });
  let end: (value: Json) => void = () => undefined;
  answer = () => new Promise(resolve => (end = resolve));
  submit();
  submit();
  expect(sent).toHaveLength(1);
  expect(button('Send').getAttribute('aria-disabled')).toBe('true');
  end({ id: 'k1' });
  await vi.waitFor(() => expect(said()).toBe('Done: {"id":"k1"}'));
});

test('what is given already is no field, first values come back, and an empty text may be one of them', async () => {
  show({ survey: text, name: text, note: text }, { fixed: ['survey'], initial: { name: 'Ada', note: '' }, multiline: ['note'], success: 'Thank you!' });
  expect([...form.node.querySelectorAll('label')].map(label => label.textContent)).toEqual(['Name', 'Note']);
  expect(control('Note').tagName).toBe('TEXTAREA');
  type('Name', 'Grace');
  submit();
  await vi.waitFor(() => expect(said()).toBe('Thank you!'));
  expect(sent).toEqual([{ name: 'Grace', note: '' }]);
  expect(control('Name').value).toBe('Ada');
});

test('a function that takes anything has one field', async () => {
  show({}, { args: { type: 'any' } });
  type('Arguments', '[1]');
  submit();
  expect(problems()).toEqual(['expected an object: {"name": value}']);
  type('Arguments', '{"a": 1}');
  submit();
  await vi.waitFor(() => expect(sent).toEqual([{ a: 1 }]));
});
