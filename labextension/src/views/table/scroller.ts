/**
 * Where a grid of any number of rows is scrolled to, counted in rows.
 *
 * Browsers bound the height of an element, so a very long table has less height than its rows: then the bar goes through them in
 * larger steps, while wheel and keys still move by rows.
 *
 * Where an element is scrolled to, and how high it is, is kept here: to ask for it while a page is painted makes the browser lay
 * all of it out, once for each table of many.
 */

/** The height of a row in pixels, as the style sheet has it. */
export const ROW = 25;
/** The same where rows have images. */
export const TALL_ROW = 64;
/** Firefox bounds elements at some 17 million pixels. */
const TALLEST = 8_000_000;
const VIEW = 400;

export class Scroller {
  /** The height of a row. */
  row = ROW;
  count = 0;
  /** Where a key or the wheel has put it: more exact than what the bar can say. */
  private _put: { scroll: number; top: number } | null = null;
  private _scroll = 0;
  private _size = 0;

  constructor(
    private readonly _node: HTMLElement,
    private readonly _changed: () => void,
  ) {
    _node.addEventListener('scroll', () => (this._scroll = _node.scrollTop), { passive: true });
    _node.addEventListener('wheel', event => this._wheel(event), { passive: false });
    // Also when it comes back into the page, scrolled to the top
    new ResizeObserver(() => {
      const { scrollTop, clientHeight } = _node;
      if (clientHeight > 0 && (scrollTop !== this._scroll || clientHeight !== this._size)) {
        [this._scroll, this._size] = [scrollTop, clientHeight];
        this._changed();
      }
    }).observe(_node);
  }

  /** The height that rows are seen in. */
  get view(): number {
    return Math.max((this._size || VIEW) - ROW, this.row);
  }

  get height(): number {
    return Math.min(this.count * this.row, TALLEST);
  }

  get scaled(): boolean {
    return this.count * this.row > TALLEST;
  }

  /** The first row in sight; its fraction is above the edge. */
  get top(): number {
    const scroll = this._scroll;
    if (!this.scaled) {
      return Math.min(scroll / this.row, this._last);
    }
    if (this._put !== null && Math.abs(this._put.scroll - scroll) < 1) {
      return Math.min(this._put.top, this._last);
    }
    return (scroll / (this.height - this.view)) * this._last;
  }

  set top(top: number) {
    const bounded = Math.min(Math.max(top, 0), this._last);
    this._node.scrollTop = this.scaled ? (bounded / this._last) * (this.height - this.view) : bounded * this.row;
    this._scroll = this._node.scrollTop;
    this._put = { scroll: this._scroll, top: bounded };
    this._changed();
  }

  /** How many pixels above the first row there are to a row that is painted. */
  shift(first: number): number {
    return this.scaled ? this._scroll - (this.top - first) * this.row : first * this.row;
  }

  /** Scroll as far as it takes to see a row. */
  reveal(row: number): void {
    const shown = this.view / this.row;
    const top = this.top;
    this.top = row < top ? row : row > top + shown - 1 ? row - shown + 1 : top;
  }

  /** The largest value of `top`. */
  private get _last(): number {
    return Math.max(0, this.count - this.view / this.row);
  }

  private _wheel(event: WheelEvent): void {
    if (!this.scaled || event.ctrlKey || event.deltaY === 0) {
      return;
    }
    const rows = event.deltaMode === 0 ? event.deltaY / this.row : event.deltaMode === 1 ? event.deltaY : event.deltaY * 10;
    const before = this.top;
    const next = Math.min(Math.max(before + rows, 0), this._last);
    if (next !== before) {
      event.preventDefault(); // at the ends the page scrolls on
      this.top = next;
    }
  }
}
