// Where the lines go and how they are painted; kept apart from what the pointer does with them.

import { classColour, readable } from "../colour.ts";
import { INFINITE, NAN_INK, type Lines, type Series } from "../types.ts";
import { extent, Scale, tickText } from "./axis.ts";
import { hatch } from "./cells.ts";
import { Chosen, type Context } from "./context.ts";
import { counted } from "./format.ts";
import { face, fit, type Ink } from "./sheet.ts";

const TEXT = 11;

export interface Shown {
  readonly series: Series;
  readonly name: string;
  readonly colour: string;
  /** A faint line whose smoothed one is there too. */
  readonly hasStrong: boolean;
}

export interface Plan {
  readonly x: Scale;
  readonly y: Scale;
  readonly top: number;
  readonly bottom: number;
  readonly width: number;
  readonly shown: readonly Shown[];
  readonly xTicks: readonly number[];
  readonly yTicks: readonly number[];
  readonly labels: readonly { text: string; key: string; colour: string; x: number; y: number }[];
  /** What could not be drawn, counted. */
  readonly notes: readonly string[];
  spacing(series: Series): number;
}

/** Room for a name such as "training batch". */
const NAME = 92;

/** Decide ranges, margins, ticks and labels. */
export function plan(pen: CanvasRenderingContext2D, mark: Lines, zoom: [number, number] | null, width: number, height: number, context: Context): Plan {
  pen.font = face(TEXT);
  const shown = mark.series.map((series) => show(series, mark));
  const xRange = rangeX(mark, zoom);
  const yRange = rangeY(mark, xRange);
  const top = mark.events.some((event) => event.kind !== "gap") ? 18 : 8;
  const bottom = height - 20;
  const y = new Scale(yRange, [bottom, top], mark.y_log);
  const yTicks = mark.y_ticks === false ? [] : y.ticks(Math.max(2, Math.round((bottom - top) / 44)));
  const left = Math.ceil(Math.max(14, ...yTicks.map((tick) => pen.measureText(tickText(tick, yTicks)).width)) + 8);
  const named = labelled(shown);
  const longest = Math.max(0, ...named.map((item) => pen.measureText(item.name).width));
  // Names have a third of the chart, of a narrow one as much as a short name wants.
  const right = named.length ? Math.min(Math.max(width * 0.3, Math.min(NAME, width * 0.45)), longest + 12) : 8;
  const x = new Scale(xRange, [left, Math.max(left + 20, width - right)], mark.x_log);
  const xTicks = x.ticks(Math.max(2, Math.round((x.to - x.from) / 90)), isWhole(mark) ? "step" : mark.x_kind);
  const labels = spread(named.flatMap((item) => endOf(item, x, y, top, bottom)), top, bottom).map((label) => ({
    ...label, text: fit(pen, label.text, right - 8), colour: readable(label.colour, context.theme), x: x.to + 8,
  }));
  return { x, y, top, bottom, width, shown, xTicks, yTicks, labels, notes: counts(mark), spacing: (series) => spacing(series) };
}

function show(series: Series, mark: Lines): Shown {
  const alone = mark.series.every((other) => other.name === series.name);
  const name = !series.group ? series.name : alone ? series.group : `${series.group} · ${series.name}`;
  const hasStrong = series.faint && mark.series.some((other) => !other.faint && !other.band && other.colour === series.colour && other.group === series.group);
  return { series, name, colour: classColour(series.colour), hasStrong };
}

function labelled(shown: readonly Shown[]): readonly Shown[] {
  const seen = new Set<string>();
  return shown.filter((item) => {
    if (item.hasStrong || item.series.band || !item.name || seen.has(item.name)) return false;
    seen.add(item.name);
    return item.series.x.data.length > 0;
  });
}

function rangeX(mark: Lines, zoom: [number, number] | null): [number, number] {
  const wanted = zoom ?? mark.x_range;
  if (wanted && wanted[0] < wanted[1] && !(mark.x_log && wanted[0] <= 0)) return [wanted[0], wanted[1]];
  let low = Infinity;
  let high = -Infinity;
  for (const { x } of mark.series) {
    for (const value of [x.data.find((at) => !mark.x_log || at > 0), x.data.at(-1)]) {
      if (value === undefined || !Number.isFinite(value)) continue;
      low = Math.min(low, value);
      high = Math.max(high, value);
    }
  }
  return low < high ? [low, high] : extent(low, high, 0, mark.x_log);
}

function rangeY(mark: Lines, [from, to]: [number, number]): [number, number] {
  if (mark.y_range && mark.y_range[0] < mark.y_range[1] && !(mark.y_log && mark.y_range[0] <= 0)) return [mark.y_range[0], mark.y_range[1]];
  let low = Infinity;
  let high = -Infinity;
  for (const series of mark.series) {
    for (const array of series.band ? [series.low, series.high] : [series.y, series.low, series.high]) {
      if (!array) continue;
      for (let i = 0; i < array.data.length; i++) {
        const value = array.data[i] as number;
        const x = series.x.data[i] as number;
        if (x < from || x > to || !Number.isFinite(value) || (mark.y_log && value <= 0)) continue;
        if (value < low) low = value;
        if (value > high) high = value;
      }
    }
  }
  return extent(low, high, 0.05, mark.y_log);
}

/** Layers and frames are counted: between two of them there is no place for a tick. */
function isWhole(mark: Lines): boolean {
  return mark.x_kind === "number" && mark.series.every(({ x }) => x.data.every((at: number) => Number.isInteger(at)));
}

function spacing(series: Series): number {
  const { data } = series.x;
  return data.length > 1 ? Math.abs((data.at(-1) ?? 0) - (data[0] ?? 0)) / (data.length - 1) : Infinity;
}

function counts(mark: Lines): string[] {
  let [nan, infinite, below] = [0, 0, 0];
  for (const series of mark.series) {
    for (const value of series.y.data) {
      if (Number.isNaN(value)) nan += 1;
      else if (!Number.isFinite(value)) infinite += 1;
      else if (mark.y_log && value <= 0) below += 1;
    }
  }
  return [nan && `${nan} NaN`, infinite && `${infinite} infinite`, below && `${counted(below, "value")} at or below zero left out`].filter((text): text is string => Boolean(text));
}

interface Label { text: string; key: string; colour: string; y: number }

/** Where a line ends inside the picture: its name goes there. */
function endOf(item: Shown, x: Scale, y: Scale, top: number, bottom: number): Label[] {
  const { series } = item;
  for (let i = series.x.data.length - 1; i >= 0; i--) {
    const [at, value] = [series.x.data[i] as number, series.y.data[i] as number];
    if (at > x.high || !Number.isFinite(y.at(value))) continue;
    if (at < x.low) return [];
    return [{ text: item.name, key: series.key, colour: item.colour, y: Math.max(top, Math.min(bottom, y.at(value))) }];
  }
  return [];
}

/** Move labels apart until none covers another; the ones that find no room are left to the tooltip. */
export function spread<T extends { y: number }>(labels: T[], top: number, bottom: number, height = 14): T[] {
  const room = Math.max(1, Math.floor((bottom - top + height) / height));
  const kept = labels.slice(0, room).sort((a, b) => a.y - b.y).map((label) => ({ ...label }));
  for (let i = 1; i < kept.length; i++) {
    const [before, here] = [kept[i - 1] as T, kept[i] as T];
    here.y = Math.max(here.y, before.y + height);
  }
  let limit = bottom;
  for (let i = kept.length - 1; i >= 0; i--) {
    const here = kept[i] as T;
    here.y = Math.min(here.y, limit);
    limit = here.y - height;
  }
  return kept;
}

/** Paint everything but what follows the pointer. */
export function paint(pen: CanvasRenderingContext2D, layout: Plan, mark: Lines, context: Context, ink: Ink): void {
  const { x, top, bottom } = layout;
  const chosen = new Chosen(context.selection);
  const some = layout.shown.some(({ series }) => chosen.has(series.key));
  paintAxes(pen, layout, mark, ink);
  pen.save();
  pen.beginPath();
  pen.rect(x.from - 1, top - 2, x.to - x.from + 2, bottom - top + 4);
  pen.clip();
  for (const event of mark.events) if (event.kind === "gap") paintGap(pen, layout, event.x, event.end ?? event.x);
  for (const item of layout.shown) {
    const dimmed = item.series.key && context.hovered !== item.series.key && some && !chosen.has(item.series.key);
    paintSeries(pen, layout, item, dimmed ? 0.35 : 1, context.hovered === item.series.key && item.series.key !== "");
  }
  paintCursor(pen, layout, mark.cursor, ink);
  pen.restore();
  paintOdd(pen, layout);
  paintEvents(pen, layout, mark, ink);
  pen.textAlign = "left";
  pen.textBaseline = "middle";
  for (const label of layout.labels) {
    const strong = label.key && (chosen.has(label.key) || context.hovered === label.key);
    pen.font = face(TEXT, strong ? 600 : 400);
    pen.fillStyle = label.colour;
    pen.fillText(label.text, label.x, label.y);
  }
}

function paintAxes(pen: CanvasRenderingContext2D, layout: Plan, mark: Lines, ink: Ink): void {
  const { x, y, bottom } = layout;
  pen.font = face(TEXT);
  pen.lineWidth = 1;
  pen.strokeStyle = ink.hairline;
  pen.fillStyle = ink.muted;
  pen.textBaseline = "middle";
  pen.textAlign = "right";
  for (const tick of layout.yTicks) {
    const at = Math.round(y.at(tick)) + 0.5;
    stroke(pen, x.from, at, x.to, at);
    pen.fillText(tickText(tick, layout.yTicks), x.from - 7, at);
  }
  stroke(pen, x.from, bottom + 0.5, x.to, bottom + 0.5);
  pen.textAlign = "center";
  const last = layout.xTicks.at(-1);
  for (const tick of layout.xTicks) {
    const text = tickText(tick, layout.xTicks, mark.x_kind);
    const half = pen.measureText(text).width / 2;
    const at = Math.max(half, Math.min(layout.width - half, x.at(tick)));
    stroke(pen, Math.round(x.at(tick)) + 0.5, bottom, Math.round(x.at(tick)) + 0.5, bottom + 3);
    const withTitle = tick === last && at + half + pen.measureText(` ${mark.x_title}`).width < layout.width;
    pen.fillText(text, at, bottom + 12);
    if (!withTitle) continue;
    pen.textAlign = "left";
    pen.fillText(` ${mark.x_title}`, at + half, bottom + 12);
    pen.textAlign = "center";
  }
}

function stroke(pen: CanvasRenderingContext2D, x1: number, y1: number, x2: number, y2: number): void {
  pen.beginPath();
  pen.moveTo(x1, y1);
  pen.lineTo(x2, y2);
  pen.stroke();
}

function paintGap(pen: CanvasRenderingContext2D, layout: Plan, from: number, to: number): void {
  const left = layout.x.at(from);
  pen.globalAlpha = 0.35;
  hatch(pen, left, layout.top, Math.max(3, layout.x.at(to) - left), layout.bottom - layout.top);
  pen.globalAlpha = 1;
}

function paintSeries(pen: CanvasRenderingContext2D, layout: Plan, item: Shown, alpha: number, thick: boolean): void {
  const { series, colour, hasStrong } = item;
  pen.strokeStyle = pen.fillStyle = colour;
  if (series.low && series.high) {
    pen.globalAlpha = alpha * (series.faint ? 0.4 : series.band ? 0.16 : 0.28);
    envelope(pen, layout, series);
  }
  if (!series.band) {
    pen.globalAlpha = alpha * (series.faint ? (hasStrong ? 0.45 : 0.7) : 1);
    pen.lineWidth = (series.faint ? 1 : 1.75) + (thick ? 1 : 0);
    pen.lineJoin = "round";
    pen.setLineDash(series.dash ? [5, 3] : []);
    path(pen, layout, series);
    pen.setLineDash([]);
  }
  pen.globalAlpha = 1;
}

function path(pen: CanvasRenderingContext2D, { x, y }: Plan, series: Series): void {
  pen.beginPath();
  let drawing = false;
  let single = -1;
  for (let i = 0; i < series.x.data.length; i++) {
    const [across, down] = [x.at(series.x.data[i] as number), y.at(series.y.data[i] as number)];
    if (!Number.isFinite(across) || !Number.isFinite(down)) {
      drawing = false;
      continue;
    }
    if (drawing) pen.lineTo(across, down);
    else pen.moveTo(across, down);
    if (!drawing) single = i;
    else single = -1;
    drawing = true;
  }
  pen.stroke();
  if (single < 0 || series.x.data.length !== 1) return;
  pen.beginPath(); // a series of one point would not be seen
  pen.arc(x.at(series.x.data[single] as number), y.at(series.y.data[single] as number), 2.5, 0, 7);
  pen.fill();
}

/** The filled band between low and high, broken where either is not a number. */
function envelope(pen: CanvasRenderingContext2D, { x, y, bottom }: Plan, series: Series): void {
  const { low, high } = series;
  if (!low || !high) return;
  const count = series.x.data.length;
  let start = 0;
  while (start < count) {
    while (start < count && !(Number.isFinite(low.data[start]) && Number.isFinite(high.data[start]))) start += 1;
    let end = start;
    while (end < count && Number.isFinite(low.data[end]) && Number.isFinite(high.data[end])) end += 1;
    if (end === start) break;
    const foot = (value: number): number => (Number.isFinite(y.at(value)) ? y.at(value) : bottom);
    pen.beginPath();
    for (let i = start; i < end; i++) pen.lineTo(x.at(series.x.data[i] as number), foot(high.data[i] as number));
    for (let i = end - 1; i >= start; i--) {
      // At least a hair's height, so that a flat envelope is still seen.
      pen.lineTo(x.at(series.x.data[i] as number), Math.max(foot(low.data[i] as number), foot(high.data[i] as number) + 0.75));
    }
    pen.fill();
    start = end;
  }
}

function paintCursor(pen: CanvasRenderingContext2D, { x, top, bottom }: Plan, cursor: number | null, ink: Ink): void {
  if (cursor === null || cursor < x.low || cursor > x.high) return;
  pen.strokeStyle = ink.accent;
  pen.lineWidth = 1.25;
  stroke(pen, x.at(cursor), top, x.at(cursor), bottom);
}

/** NaN and infinite values have no height: they are ticked at the upper edge. */
function paintOdd(pen: CanvasRenderingContext2D, { x, top, shown }: Plan): void {
  for (const { series } of shown) {
    for (let i = 0; i < series.y.data.length; i++) {
      const value = series.y.data[i] as number;
      const at = series.x.data[i] as number;
      if (Number.isFinite(value) || at < x.low || at > x.high) continue;
      pen.fillStyle = Number.isNaN(value) ? NAN_INK : INFINITE;
      pen.fillRect(x.at(at) - 1, top - 2, 2, 6);
    }
  }
}

function paintEvents(pen: CanvasRenderingContext2D, { x, top, bottom }: Plan, mark: Lines, ink: Ink): void {
  pen.font = face(10);
  pen.textBaseline = "alphabetic";
  pen.textAlign = "left";
  // What finds no room beside the label before it is counted there; the pointer tells each.
  const labels: { text: string; at: number; more: number }[] = [];
  const told = (label: { text: string; more: number }) => (label.more ? `${label.text} +${label.more}` : label.text);
  const from = (label: { text: string; at: number; more: number }) =>
    Math.max(x.from, Math.min(x.to - pen.measureText(told(label)).width, label.at - 2));
  const marked = mark.events.filter((event) => event.kind !== "gap" && event.x >= x.low && event.x <= x.high).sort((a, b) => a.x - b.x);
  marked.forEach((event, i) => {
    const at = Math.round(x.at(event.x)) + 0.5;
    pen.strokeStyle = event.kind === "finding" ? "#d17a12" : ink.muted;
    pen.lineWidth = 1;
    pen.setLineDash(event.kind === "flip" ? [1, 4] : [2, 2]);
    stroke(pen, at, top - 4, at, bottom);
    pen.setLineDash([]);
    const label = { text: fit(pen, event.label, Math.max(110, x.at(marked[i + 1]?.x ?? x.high) - at - 8)), at, more: 0 };
    const before = labels.at(-1);
    if (before && from(label) < from(before) + pen.measureText(told(before)).width + 8) before.more += 1;
    else labels.push(label);
  });
  pen.fillStyle = ink.muted;
  for (const label of labels) pen.fillText(told(label), from(label), top - 7);
}
