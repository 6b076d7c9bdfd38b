// A table's cell with a small history: a line over the common steps, the healthy range behind it, and the number of now.

import type { Column, Table } from "../types.ts";
import { setAttribute, setText, svg } from "./elements.ts";
import { format, withUnit } from "./format.ts";
import type { Part } from "./keyed.ts";

const WIDE = 46;
const TALL = 16;

/** An empty history: range, line, what lies outside, and where the time slider stands. */
export function trace(): SVGElement {
  const sheet = svg("svg", { class: "history", viewBox: `0 0 ${WIDE} ${TALL}`, preserveAspectRatio: "none", width: WIDE, height: TALL, "aria-hidden": "true" });
  for (const name of ["history-healthy", "history-line", "history-outside", "history-now"]) sheet.append(svg("path", { class: name }));
  return sheet;
}

/** Fill a cell that `trace` began. */
export function paintHistory(cell: HTMLElement, mark: Table, column: Column, i: number): void {
  const paths = drawn(mark, column, i);
  const sheet = cell.firstElementChild as SVGElement;
  [...sheet.children].forEach((path, at) => setAttribute(path, "d", paths[at] || null));
  const strange = outside(column, i);
  cell.classList.toggle("outside", strange !== 0);
  setText(cell.lastElementChild as HTMLElement, said(column, i));
}

function outside(column: Column, i: number): number {
  return column.outside?.data[i] ?? 0;
}

/** The number of now, with an arrow where it lies outside; nothing where nothing was recorded. */
export function said(column: Column, i: number): string {
  const number = column.numbers?.data[i] ?? NaN;
  const strange = outside(column, i);
  if (Number.isNaN(number) && strange !== 2) return "";
  return (strange === -1 ? "↓ " : strange === 1 ? "↑ " : "") + withUnit(number, column.unit);
}

type Rows = { readonly data: ArrayLike<number> } | null;

function at(rows: Rows, i: number, count: number, place: number, end?: number): number {
  const where = i * count + place;
  return rows?.data[end === undefined ? where : 2 * where + end] ?? NaN;
}

/** Whether the line leaves the healthy range at one of its places. */
function leaves(column: Column, i: number, count: number, place: number): boolean {
  const low = column.spreads ? at(column.spreads, i, count, place, 0) : at(column.histories, i, count, place);
  const high = column.spreads ? at(column.spreads, i, count, place, 1) : low;
  return low < at(column.healthy, i, count, place, 0) || high > at(column.healthy, i, count, place, 1);
}

/** The paths of a cell: the healthy range, the line, its places outside, the time slider. */
export function drawn(mark: Table, column: Column, i: number): [string, string, string, string] {
  const steps = mark.steps?.data;
  const count = steps?.length ?? 0;
  if (!steps || count < 2) return ["", "", "", ""];
  const [first, last] = [steps[0] as number, steps[count - 1] as number];
  const x = (step: number): number => round(1 + ((WIDE - 2) * (step - first)) / Math.max(last - first, 1e-12));
  const [low, high] = column.range ?? spanOf(column);
  const scale = (value: number): number => (column.log ? Math.log10(Math.max(value, 0)) : value);
  const y = (value: number): number => {
    const share = (scale(value) - scale(low)) / (scale(high) - scale(low));
    return round(TALL - 1 - (TALL - 2) * Math.max(0, Math.min(1, share)));
  };
  let line = "";
  let bad = "";
  let pen = false;
  const upper: string[] = [];
  const lower: string[] = [];
  for (let place = 0; place < count; place++) {
    const value = at(column.histories, i, count, place);
    const here = x(steps[place] as number);
    if (Number.isFinite(value)) {
      line += `${pen ? "L" : "M"}${here} ${y(value)}`;
      if (leaves(column, i, count, place)) bad += `M${here} ${y(value)}h.01`;
      pen = true;
    } else if (!column.outside) pen = false;
    const ends = [at(column.healthy, i, count, place, 0), at(column.healthy, i, count, place, 1)] as const;
    if (Number.isNaN(ends[0]) || Number.isNaN(ends[1])) continue;
    upper.push(`${here} ${y(ends[1])}`);
    lower.unshift(`${here} ${y(ends[0])}`);
  }
  const healthy = upper.length && line ? `M${[...upper, ...lower].join("L")}Z` : "";
  const now = mark.cursor;
  return [healthy, line, bad, now !== null && line && now >= first && now <= last ? `M${x(now)} 0V${TALL}` : ""];
}

function spanOf(column: Column): readonly [number, number] {
  const values = Array.from(column.histories?.data ?? []).filter((value) => Number.isFinite(value) && (!column.log || value > 0));
  const [low, high] = [Math.min(...values), Math.max(...values)];
  return values.length && low < high ? [low, high] : values.length ? (column.log ? [low / 2, low * 2] : [low - 0.5, low + 0.5]) : [0.1, 1];
}

function round(value: number): number {
  return Math.round(value * 10) / 10;
}

/** The place of the history under the pointer: the pointer is given as shares of the cell. */
function placeAt(mark: Table, share: number): number {
  const count = mark.steps?.shape[0] ?? 0;
  const steps = mark.steps?.data ?? [];
  const [first, last] = [steps[0] ?? 0, steps[count - 1] ?? 0];
  const wanted = first + (last - first) * Math.max(0, Math.min(1, share));
  let best = 0;
  for (let place = 1; place < count; place++) {
    if (Math.abs((steps[place] as number) - wanted) < Math.abs((steps[best] as number) - wanted)) best = place;
  }
  return best;
}

/** Where the line first left the healthy range, or its last place. */
function telling(mark: Table, column: Column, i: number): number {
  const count = mark.steps?.shape[0] ?? 0;
  let last = Math.max(0, count - 1);
  while (last > 0 && Number.isNaN(at(column.histories, i, count, last))) last--;
  if (!outside(column, i)) return last;
  for (let place = 0; place < count; place++) if (leaves(column, i, count, place)) return place;
  return last;
}

/** A cell as something to be asked and chosen: its row's key, and the step under the pointer. */
export function cellOf(mark: Table, column: Column, i: number): Part {
  const key = mark.row_keys[i];
  const row = mark.columns[0]?.texts[i] ?? "";
  const count = mark.steps?.shape[0] ?? 0;
  const stepOf = (place: number): string => `step:${mark.steps?.data[place] ?? 0}`;
  const first = telling(mark, column, i);
  const known = key !== undefined && count > 0 && !Number.isNaN(at(column.histories, i, count, first));
  return {
    keys: key ? [key] : [],
    role: "gridcell",
    over: ".history",
    choose: (where) => (known ? [key, stepOf(placeAt(mark, where.x))] : key ? [key] : []),
    otherwise: known ? [key, stepOf(first)] : key ? [key] : [],
    describe: (where) => {
      const words = ["within", "above", "not a number", "below"];
      const strange = outside(column, i);
      const now = `${column.name}: ${said(column, i) || "not recorded"}`;
      const state = column.healthy && said(column, i) ? (strange === 2 ? "not a number" : `${words[strange === -1 ? 3 : strange]} the healthy range`) : "";
      const place = where && known ? placeAt(mark, where.x) : -1;
      const then = place >= 0 ? `step ${format(mark.steps?.data[place])}: ${withUnit(at(column.histories, i, count, place), column.unit)}` : "";
      const ends = place < 0 ? "" : range(at(column.healthy, i, count, place, 0), at(column.healthy, i, count, place, 1));
      const since = !where && strange && known ? `first at step ${format(mark.steps?.data[first])}` : "";
      return [row, now, state, then, ends, since];
    },
  };
}

function range(low: number, high: number): string {
  const [from, to] = [Number.isFinite(low), Number.isFinite(high)];
  if (from && to) return `healthy: ${format(low)} to ${format(high)}`;
  return from ? `healthy: above ${format(low)}` : to ? `healthy: below ${format(high)}` : "";
}
