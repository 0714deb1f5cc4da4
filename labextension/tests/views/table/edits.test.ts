import { expect, test, vi } from 'vitest';
import { Edits } from '../../../src/views/table/edits';

test('an edit is shown until the rows have it', async () => {
  let answer: (value?: unknown) => void = () => undefined;
  const edits = new Edits(() => new Promise(resolve => (answer = resolve)), () => undefined);
  edits.begin('a', 'n', 2, 1);
  edits.settle(() => 1);
  expect(edits.of('a', 'n')?.state).toBe('sending');
  answer();
  await vi.waitFor(() => expect(edits.of('a', 'n')?.state).toBe('sent'));
  edits.settle(() => 1); // rows of before
  expect(edits.of('a', 'n')?.value).toBe(2);
  edits.settle(() => 2);
  expect(edits.size).toBe(0);
});

test('a refused one says why, and a later one of the same cell is what counts', async () => {
  const fates: { fail: (error: Error) => void }[] = [];
  const edits = new Edits(() => new Promise((_, reject) => fates.push({ fail: reject })), () => undefined);
  edits.begin('a', 'n', 2, 1);
  edits.begin('a', 'n', 3, 1);
  fates[0]!.fail(new Error('first'));
  await Promise.resolve();
  await Promise.resolve();
  expect(edits.of('a', 'n')).toMatchObject({ value: 3, state: 'sending' });
  fates[1]!.fail(new Error('no'));
  await vi.waitFor(() => expect(edits.of('a', 'n')).toMatchObject({ state: 'refused', problem: 'no' }));
  edits.dismiss('a', 'n');
  expect(edits.size).toBe(0);
});
