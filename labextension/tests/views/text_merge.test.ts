import { expect, test } from 'vitest';
import { diff, follow, merge, pieces } from '../../src/views/text_merge';

function apply(from: readonly string[], to: readonly string[]): string {
  const result: string[] = [];
  let at = 0;
  for (const hunk of diff(from, to)) {
    result.push(...from.slice(at, hunk.at), ...hunk.added);
    at = hunk.at + hunk.removed;
  }
  return result.concat(from.slice(at)).join('');
}

test('words, and single characters of what has no words', () => {
  expect(pieces('Hi there, 안녕 세계!\n世界')).toEqual(['Hi', ' ', 'there', ',', ' ', '안녕', ' ', '세계', '!', '\n', '世', '界']);
  expect(pieces('')).toEqual([]);
  expect(pieces('a👍b').join('')).toBe('a👍b');
});

test('changes in different places are both kept', () => {
  const base = 'The quick fox jumps over the dog.';
  expect(merge(base, 'The slow fox jumps over the dog.', 'The quick fox jumps over the lazy dog.')).toBe(
    'The slow fox jumps over the lazy dog.',
  );
  expect(merge('one\ntwo\n', 'zero\none\ntwo\n', 'one\ntwo\nthree\n')).toBe('zero\none\ntwo\nthree\n');
  expect(merge('안녕 세계', '안녕 좋은 세계', '모두 안녕 세계')).toBe('모두 안녕 좋은 세계');
});

test('two insertions at one place are both kept, theirs first; the same one once', () => {
  expect(merge('a ', 'a mine', 'a theirs')).toBe('a theirsmine');
  expect(merge('a', 'a b', 'a b')).toBe('a b');
  expect(merge('x y', 'x new y', 'x new y!')).toBe('x new y!');
});

test('changes of the same words are no merge', () => {
  expect(merge('a red house', 'a blue house', 'a green house')).toBeNull();
  expect(merge('a red house', 'a house', 'a green house')).toBeNull();
  expect(merge('a red house', 'a blue house', 'a blue house')).toBe('a blue house');
});

test('one side that has changed nothing takes the other', () => {
  expect(merge('a', 'a', 'b')).toBe('b');
  expect(merge('a', 'b', 'a')).toBe('b');
});

test('any text becomes any other', () => {
  let seed = 7;
  const random = (n: number) => (seed = (seed * 48271) % 2147483647) % n;
  const text = () => Array.from({ length: random(30) }, () => ['a', 'b', ' ', '\n', 'cd'][random(5)]!);
  for (let i = 0; i < 500; i++) {
    const [from, to] = [text(), text()];
    expect(apply(from, to)).toBe(to.join(''));
  }
});

test('merges of random changes in separate halves have both', () => {
  let seed = 11;
  const random = (n: number) => (seed = (seed * 48271) % 2147483647) % n;
  const words = (n: number) => Array.from({ length: n }, () => `w${random(50)}`);
  for (let i = 0; i < 200; i++) {
    const [left, right, other, another] = [words(5), words(5), words(4), words(6)].map(list => list.join(' '));
    const base = `${left} | ${right}`;
    expect(merge(base, `${other} | ${right}`, `${left} | ${another}`)).toBe(`${other} | ${another}`);
  }
});

test('texts with nothing in common do not take for ever', () => {
  const long = (word: string) => Array.from({ length: 2_000 }, (_, n) => `${word}${n}`).join(' ');
  expect(merge('base', long('a'), 'base')).toBe(long('a'));
  expect(apply(pieces(long('a')), pieces(long('b')))).toBe(long('b'));
});

test('a caret stays at its word', () => {
  expect(follow('one two', 'zero one two', 4)).toBe(9);
  expect(follow('one two', 'one two three', 3)).toBe(3);
  expect(follow('one two', 'two', 7)).toBe(3);
  expect(follow('', 'abc', 0)).toBe(0);
  expect(follow('one two', '', 5)).toBe(0);
});
