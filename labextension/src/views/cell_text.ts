/** Longer texts are cut: a cell is for reading, and a megabyte in one would stall the page. */
const MAX_TEXT = 2_000;

/** A value as the text of a cell. */
export function cellText(value: unknown): string {
  if (value === undefined) {
    return '';
  }
  if (typeof value === 'number') {
    // 0.1 + 0.2 is 0.3 to a reader
    return String(Number.isInteger(value) ? value : Number(value.toPrecision(12)));
  }
  const text = typeof value === 'string' ? value : typeof value === 'object' ? JSON.stringify(value) : String(value);
  return text.length > MAX_TEXT ? `${text.slice(0, MAX_TEXT)}…` : text;
}
