/**
 * Which rows are shown: a text that one of the cells has, and conditions of single columns.
 *
 * A condition is a text to look for, or `> 5`, `<= 5`, `= word`, `!= word`, `1..5`, `empty`, `!empty`. Numbers and moments are
 * compared as such.
 */

import { isNumeric, isSystem, type Cells, type Column } from './columns';
import { textOf } from './formats';

export type Test = (cells: Cells) => boolean;

const COMPARISON = /^(>=|<=|!=|=|>|<)\s*(.*)$/;
const RANGE = /^(\S.*?)\s*\.\.\s*(\S.*)$/;

/** Rows in which some column has a text; ids are random letters, so they count only as a whole. */
export function anywhere(text: string, columns: readonly Column[]): Test | null {
  const wanted = text.trim().toLowerCase();
  if (wanted === '') {
    return null;
  }
  return cells =>
    columns.some(column => {
      const value = cells[column.at];
      return isSystem(column) ? value === text.trim() : value != null && textOf(value, column).toLowerCase().includes(wanted);
    });
}

/** Rows of which one column meets a condition; null if there is none. */
export function condition(text: string, column: Column): Test | null {
  const said = text.trim();
  if (!said) {
    return null;
  }
  const missing = (value: unknown) => value === null || value === undefined || value === '';
  if (/^!?empty$/i.test(said)) {
    const wanted = !said.startsWith('!');
    return cells => missing(cells[column.at]) === wanted;
  }
  const compares = isNumeric(column) || column.kind === 'datetime' || column.kind === 'naive';
  const range = compares ? RANGE.exec(said) : null;
  if (range) {
    const [least, most] = [numberOf(range[1]!, column), numberOf(range[2]!, column, true)];
    return cells => {
      const value = cells[column.at];
      return typeof value === 'number' && value >= least && value <= most;
    };
  }
  const [, sign, operand] = COMPARISON.exec(said) ?? [];
  if (sign === undefined || !operand) {
    const wanted = said.toLowerCase();
    return cells => textOf(cells[column.at], column).toLowerCase().includes(wanted);
  }
  const number = compares ? numberOf(operand, column) : NaN;
  if (!Number.isNaN(number)) {
    // a day is all of it
    const end = numberOf(operand, column, true);
    const test = (value: number) => compared(sign, value >= number && value <= end ? 0 : value - number);
    return cells => typeof cells[column.at] === 'number' && test(cells[column.at] as number);
  }
  const wanted = operand.toLowerCase();
  return cells => {
    const shown = textOf(cells[column.at], column).toLowerCase();
    return compared(sign, shown === wanted ? 0 : shown < wanted ? -1 : 1);
  };
}

function compared(sign: string, order: number): boolean {
  switch (sign) {
    case '>':
      return order > 0;
    case '>=':
      return order >= 0;
    case '<':
      return order < 0;
    case '<=':
      return order <= 0;
    case '=':
      return order === 0;
    default:
      return order !== 0;
  }
}

/** A number, or a moment as people write it (a day begins at its first millisecond, and ends at its last). */
function numberOf(text: string, { kind }: Column, end = false): number {
  if (kind !== 'datetime' && kind !== 'naive') {
    return Number(text.replace(/,/g, ''));
  }
  const day = /^\d{4}-\d{2}-\d{2}$/.test(text);
  const zone = kind === 'naive' ? 'Z' : '';
  const start = new Date(day ? `${text}T00:00:00${zone}` : text.replace(' ', 'T') + zone).getTime();
  return start + (end ? (day ? 86_400_000 - 1 : /:\d{2}:\d{2}$/.test(text) ? 999 : /T? ?\d{2}:\d{2}$/.test(text) ? 59_999 : 0) : 0);
}
