// A labelled matrix on one canvas: confusion, neuron by class, a dense layer's activations.

import { css, specials, wantsDarkText } from "../colour.ts";
import type { Heatmap, NdArray } from "../types.ts";
import { drawScaled, drawSpecials, hatch } from "./cells.ts";
import { Chosen, stateOf, type Context } from "./context.ts";
import { format, withUnit } from "./format.ts";
import type { Draw, Space } from "./half.ts";
import { head } from "./head.ts";
import { hits, type Hit } from "./hits.ts";
import { face, fit, inks, sheet, type Ink } from "./sheet.ts";

const TEXT = 11;
const SMALL = 9;
/** How deep labels in one line reach, and names that are written upwards at most. */
const LINE = 18;
const DEEPEST = 110;
/** A column of so many pixels has a name of its own, written upwards where it is longer. */
const UPWARDS = 12;
const GAP_FROM = 9; // cells at least this large are told apart by a gap

interface Plan {
  left: number;
  top: number;
  cellWidth: number;
  cellHeight: number;
  rows: number;
  columns: number;
  bottom: number;
}

export const draw: Draw<Heatmap> = (element, first, context) => {
  const frame = head(element, "heatmap", context);
  let mark = first;
  let drawn = "";
  let plan: Plan = arrange(mark, 1);
  const surface = sheet(frame.body, (width) => {
    plan = arrange(mark, width);
    return plan.top + plan.rows * plan.cellHeight + plan.bottom;
  }, (pen) => paint(pen, mark, plan, context, inks(element, context.theme)));
  const touch = hits(surface.element, context, {
    at: (x, y) => cellAt(mark, plan, x, y),
    from(current, dx, dy) {
      const [row = 0, column = 0] = current ? current.id.split(",").map(Number) : [];
      return cell(mark, plan, clamp(row + dy, plan.rows), clamp(column + dx, plan.columns));
    },
  });

  function show(): void {
    frame.update(mark, mark.limits, context.theme);
    surface.paint();
    touch.reset(describe(mark));
    drawn = stateOf(context);
  }

  show();
  return {
    update(next) {
      mark = next;
      show();
    },
    refresh() {
      if (stateOf(context) === drawn) return;
      drawn = stateOf(context);
      frame.update(mark, mark.limits, context.theme);
      surface.paint();
    },
    destroy() {
      touch.destroy();
      surface.destroy();
      element.replaceChildren();
    },
  };
};

/** About how wide the longest of some names is: a name of one wide letter would not fit into the width of a usual one, and be left out. */
function reach(labels: readonly string[]): number {
  return Math.max(0, ...labels.map((label) => [...label].reduce((sum, letter) => sum + (WIDE.test(letter) ? 12 : 6.4), 0)));
}

/** Letters that are nearly as wide as high: M, W and the like, and those of Chinese, Japanese and Korean, and pictures. */
const WIDE = /[MW@%—]|[\u1100-\u115f\u2e80-\ua4cf\uac00-\ud7a3\uf900-\ufaff\uff00-\uff60]|\p{Extended_Pictographic}/u;

function arrange(mark: Heatmap, width: number): Plan {
  const [rows = 0, columns = 0] = mark.values.shape;
  const longest = reach(mark.row_labels);
  const title = mark.row_title ? 16 : 0;
  // Names take a third, or what the cells leave.
  const spare = width - title - 1 - columns * (mark.square ? mark.size : 44);
  const left = (longest ? Math.min(Math.max(width * 0.3, spare), 10 + longest) : 0) + title;
  const space = Math.max(1, width - left - 1);
  let cellWidth = space / Math.max(1, columns);
  let cellHeight = mark.size;
  if (mark.square) cellHeight = cellWidth = Math.min(cellWidth, Math.max(mark.size, Math.min(28, cellWidth)));
  else if (columns <= 64) cellWidth = Math.min(cellWidth, 44);
  const bottom = under(mark, cellWidth) + (mark.column_title ? 16 : 0) + 2;
  return { left, top: 1, cellWidth, cellHeight, rows, columns, bottom };
}

function paint(pen: CanvasRenderingContext2D, mark: Heatmap, plan: Plan, context: Context, ink: Ink): void {
  const { left, top, cellWidth, cellHeight, rows, columns } = plan;
  const large = Math.min(cellWidth, cellHeight) >= GAP_FROM && rows * columns <= 10000;
  const gap = large ? 1 : 0;
  const right = (column: number): number => left + column * cellWidth;
  const down = (row: number): number => top + row * cellHeight;
  if (large) paintCells(pen, mark, plan, context, gap);
  else drawScaled(pen, mark.values, mark.limits, context.theme, left, top, columns * cellWidth, rows * cellHeight);
  const odd = specials(mark.values.data, mark.limits);
  if (odd) drawSpecials(pen, odd, columns, right, down, cellWidth - gap, cellHeight - gap, context.theme);
  if (mark.limits.scale === "diverging" || large) outline(pen, plan, ink);
  paintLabels(pen, mark, plan, ink);
  pen.setLineDash([3, 2]);
  paintChosen(pen, mark, plan, new Chosen(context.against), ink);
  pen.setLineDash([]);
  paintChosen(pen, mark, plan, new Chosen(context.selection), ink);
}

function paintCells(pen: CanvasRenderingContext2D, mark: Heatmap, plan: Plan, context: Context, gap: number): void {
  const { left, top, cellWidth, cellHeight, rows, columns } = plan;
  const texts = mark.cell_texts.length > 0;
  const write = (mark.numbers || texts) && cellWidth >= (texts ? 9 : 22) && cellHeight >= 12;
  pen.font = face(Math.min(TEXT, cellHeight - 3));
  pen.textAlign = "center";
  pen.textBaseline = "middle";
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) {
      const value = mark.values.data[row * columns + column] as number;
      const [x, y] = [left + column * cellWidth, top + row * cellHeight];
      if (Number.isNaN(value)) {
        hatch(pen, x, y, cellWidth - gap, cellHeight - gap);
        continue;
      }
      const colour = css(value, mark.limits, context.theme);
      pen.fillStyle = colour;
      pen.fillRect(x, y, cellWidth - gap, cellHeight - gap);
      if (!write || (value === 0 && !texts)) continue;
      pen.fillStyle = wantsDarkText(colour) ? "#1c1d20" : "#ffffff";
      const text = texts ? fit(pen, mark.cell_texts[row * columns + column] ?? "", cellWidth - 2) : short(value);
      pen.fillText(text, x + cellWidth / 2 - gap / 2, y + cellHeight / 2, cellWidth - (texts ? 1 : 4));
    }
  }
}

function short(value: number): string {
  return Number.isInteger(value) ? String(value).replace("-", "−") : format(value, 2);
}

/** A hairline round the matrix: where zero is the paper itself, its extent would not be seen. */
function outline(pen: CanvasRenderingContext2D, plan: Plan, ink: Ink): void {
  pen.strokeStyle = ink.hairline;
  pen.lineWidth = 1;
  pen.strokeRect(plan.left - 0.5, plan.top - 0.5, plan.columns * plan.cellWidth + 0.5, plan.rows * plan.cellHeight + 0.5);
}

/** The names of rows and where they stand, in rows: one that would touch the one before is left out, and where names are
 * that close, neighbours of one name are named once, in their middle. */
export function namedRows(labels: readonly string[], apart: number): { label: string; middle: number }[] {
  const found: { label: string; middle: number }[] = [];
  for (let row = 0; row < labels.length; ) {
    let end = row + 1;
    while (apart > 1 && end < labels.length && labels[end] === labels[row]) end += 1;
    const middle = (row + end) / 2;
    const before = found.at(-1);
    if (!before || middle - before.middle > apart - 1e-6) found.push({ label: labels[row] ?? "", middle });
    row = end;
  }
  return found;
}

function paintLabels(pen: CanvasRenderingContext2D, mark: Heatmap, plan: Plan, ink: Ink): void {
  const { left, top, cellWidth, cellHeight, rows, columns } = plan;
  // Small cells have smaller names before every second one is left out.
  const size = Math.max(SMALL, Math.min(TEXT, cellHeight - 0.5));
  pen.font = face(size);
  pen.fillStyle = ink.muted;
  pen.textBaseline = "middle";
  pen.textAlign = "right";
  const room = left - 8 - (mark.row_title ? 16 : 0);
  for (const { label, middle } of namedRows(mark.row_labels, size / cellHeight))
    pen.fillText(fit(pen, label, room), left - 6, Math.max(top + middle * cellHeight, size / 2)); // the topmost is not cut
  pen.textAlign = "center";
  const widest = Math.max(0, ...mark.column_labels.map((label) => Math.min(80, pen.measureText(label).width)));
  const names = areNames(mark, cellWidth);
  const everyColumn = names ? 1 : Math.ceil(Math.min(widest + 3, 60) / cellWidth);
  const foot = top + rows * cellHeight;
  const deep = under(mark, cellWidth);
  mark.column_labels.forEach((label, column) => {
    if (column % everyColumn !== 0) return;
    if (deep > LINE) {
      pen.save();
      pen.translate(left + (column + 0.5) * cellWidth, foot + 4);
      pen.rotate(-Math.PI / 2);
      pen.textAlign = "right";
      pen.fillText(fit(pen, label, deep - 6), 0, 0);
      pen.restore();
      return;
    }
    const text = fit(pen, label, everyColumn * cellWidth - 2);
    // A name that is wider than its cell is moved in, not cut off, at the edges.
    const half = pen.measureText(text).width / 2 + 1;
    pen.fillText(text, Math.max(half, Math.min(left + columns * cellWidth + 1 - half, left + (column + 0.5) * cellWidth)), foot + 11);
  });
  pen.font = face(TEXT);
  if (mark.column_title) {
    const y = foot + (deep ? deep + 7 : 10);
    pen.fillText(mark.column_title, left + (columns * cellWidth) / 2, y);
  }
  if (!mark.row_title) return;
  pen.save();
  pen.translate(7, top + (rows * cellHeight) / 2);
  pen.rotate(-Math.PI / 2);
  pen.fillText(fit(pen, mark.row_title, Math.max(40, rows * cellHeight)), 0, 0);
  pen.restore();
}

function paintChosen(pen: CanvasRenderingContext2D, mark: Heatmap, plan: Plan, chosen: Chosen, ink: Ink): void {
  const { left, top, cellWidth, cellHeight, rows, columns } = plan;
  pen.strokeStyle = ink.accent;
  pen.lineWidth = 2;
  mark.row_keys.forEach((key, row) => {
    if (chosen.has(key)) pen.strokeRect(left - 1, top + row * cellHeight - 1, columns * cellWidth + 1, cellHeight + 1);
  });
  mark.column_keys.forEach((key, column) => {
    if (chosen.has(key)) pen.strokeRect(left + column * cellWidth - 1, top - 0.5, cellWidth + 1, rows * cellHeight + 1);
  });
  mark.cell_keys.forEach((key, cell) => {
    if (!key || !chosen.has(key)) return;
    pen.strokeRect(left + (cell % plan.columns) * cellWidth - 1, top + Math.floor(cell / plan.columns) * cellHeight - 1, cellWidth + 1, cellHeight + 1);
  });
}

function cellAt(mark: Heatmap, plan: Plan, x: number, y: number): Hit | null {
  const column = Math.floor((x - plan.left) / plan.cellWidth);
  const row = Math.floor((y - plan.top) / plan.cellHeight);
  const inColumns = column >= 0 && column < plan.columns;
  const inRows = row >= 0 && row < plan.rows;
  if (inColumns && inRows) return cell(mark, plan, row, column);
  if (inRows && x < plan.left && mark.row_keys[row]) {
    const keys = [mark.row_keys[row] ?? ""];
    return { id: `${row},0`, keys, lines: [mark.row_labels[row] ?? ""], x: 0, y: plan.top + row * plan.cellHeight, width: plan.left, height: plan.cellHeight };
  }
  if (inColumns && y > plan.top && mark.column_keys[column]) {
    const keys = [mark.column_keys[column] ?? ""];
    const foot = plan.top + plan.rows * plan.cellHeight;
    return { id: `0,${column}`, keys, lines: [mark.column_labels[column] ?? ""], x: plan.left + column * plan.cellWidth, y: foot, width: plan.cellWidth, height: under(mark, plan.cellWidth) };
  }
  return null;
}

function cell(mark: Heatmap, plan: Plan, row: number, column: number): Hit {
  const value = mark.values.data[row * plan.columns + column] as number;
  const own = mark.cell_keys[row * plan.columns + column];
  const keys = (own ? [own] : [mark.row_keys[row], mark.column_keys[column]]).filter((key): key is string => Boolean(key));
  return {
    id: `${row},${column}`,
    keys: [...new Set(keys)],
    lines: [
      named(mark.row_title, mark.row_labels[row] ?? (plan.rows > 1 ? String(row) : "")),
      named(mark.column_title, mark.column_labels[column] ?? String(column)),
      mark.cell_texts[row * plan.columns + column] ?? "",
      withUnit(value, mark.limits.unit),
    ].filter((line, k) => line || k !== 2),
    x: plan.left + column * plan.cellWidth - 1,
    y: plan.top + row * plan.cellHeight - 1,
    width: plan.cellWidth + 1,
    height: plan.cellHeight + 1,
  };
}

function named(title: string, label: string): string {
  return title && label ? `${title} ${label}` : label;
}

function describe(mark: Heatmap): string {
  const [rows = 0, columns = 0] = mark.values.shape;
  return `${mark.title || "matrix"}, ${rows} rows by ${columns} columns, ${extent(mark.values)}; arrow keys read the cells`;
}

function extent(values: NdArray): string {
  let low = Infinity;
  let high = -Infinity;
  for (const value of values.data) {
    if (value < low) low = value;
    if (value > high) high = value;
  }
  return low <= high ? `from ${format(low)} to ${format(high)}` : "no numbers";
}

function clamp(at: number, count: number): number {
  return Math.max(0, Math.min(count - 1, at));
}

export function height(mark: Heatmap, width: number, factor: number): number {
  return (mark.values.shape[0] ?? 1) * Math.max(3, mark.size * factor) + below(mark, arrange(mark, width).cellWidth);
}

export function scaled(mark: Heatmap, factor: number): Heatmap {
  return { ...mark, size: Math.max(3, mark.size * factor) };
}

/** A square matrix keeps its cells square: it takes the smaller of what height and width allow. */
export function fitted(mark: Heatmap, space: Space, around: number): { mark: Heatmap; width: number } | null {
  if (!mark.square) return null;
  const [rows = 1, columns = 1] = mark.values.shape;
  const longest = reach(mark.row_labels);
  const left = (longest ? 10 + longest : 0) + (mark.row_title ? 16 : 0) + 1;
  const wide = (space.width - left) / columns;
  const tall = (cell: number): number => Math.min((space.height - around - below(mark, cell)) / rows, wide);
  const cell = tall(Math.min(tall(wide), space.enlarged ? 64 : 28));
  const size = Math.max(5, Math.min(cell, space.enlarged ? 64 : 28));
  return { mark: { ...mark, size }, width: Math.ceil(left + columns * size) };
}

/** The labels and the title of the columns. */
function below(mark: Heatmap, cellWidth: number): number {
  return under(mark, cellWidth) + (mark.column_title ? 16 : 0) + 4;
}

/** Whether columns have names, of which each stands; numbers in a row can be left out, as they go on. */
function areNames(mark: Heatmap, cellWidth: number): boolean {
  return cellWidth >= UPWARDS && mark.column_labels.some((label) => /^\p{L}/u.test(label));
}

/** How deep the labels of the columns reach: names that are wider than their cells are written upwards, so that each is whole. */
export function under(mark: Heatmap, cellWidth: number): number {
  if (!mark.column_labels.length) return 0;
  const longest = reach(mark.column_labels);
  return areNames(mark, cellWidth) && longest > cellWidth - 2 ? Math.max(LINE + 1, Math.min(DEEPEST, longest + 10)) : LINE;
}
