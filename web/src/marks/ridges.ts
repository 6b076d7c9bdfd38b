// Distributions over steps: one ridge a step, the first on top; several sets share the axis.

import { classColour, readable } from "../colour.ts";
import type { Ridges, RidgeSet } from "../types.ts";
import { nearest, Scale, tickText } from "./axis.ts";
import { Chosen, stateOf, type Context } from "./context.ts";
import { counted, format } from "./format.ts";
import { LEAST, type Draw } from "./half.ts";
import { head } from "./head.ts";
import { hits, type Hit } from "./hits.ts";
import { face, inks, sheet, type Ink } from "./sheet.ts";

const OVERLAP = 2.6; // how many rows a ridge may reach up
const FOOT = 20;

interface Plan {
  x: Scale;
  steps: number[];
  top: number;
  spacing: number;
  /** The density that reaches the full height. */
  full: number;
  cut: number;
  bottom: number;
  width: number;
}

export const draw: Draw<Ridges> = (element, first, context) => {
  const frame = head(element, "ridges", context);
  let mark = first;
  let layout: Plan | null = null;
  let pointed = -1;
  let drawn = "";
  const surface = sheet(frame.body, () => mark.height, (pen, width, height) => {
    layout = plan(pen, mark, width, height);
    paint(pen, layout, mark, context, inks(element, context.theme), pointed);
  });
  const names = (): string => mark.sets.map((set) => set.name).filter(Boolean).join(", ");
  const touch = hits(surface.element, context, {
    at(x, y) {
      const row = layout ? Math.round((y - layout.top) / layout.spacing) : -1;
      const hit = layout && row >= 0 && row < layout.steps.length && x >= layout.x.from && x <= layout.x.to ? ridge(row, x) : null;
      point(hit ? row : -1);
      return hit;
    },
    from(current, dx, dy) {
      if (!layout) return null;
      const row = current ? layout.steps.indexOf(Number(current.id)) + dx + dy : layout.steps.length - 1;
      return ridge(Math.max(0, Math.min(layout.steps.length - 1, row)), null);
    },
  });
  surface.element.addEventListener("pointerleave", () => point(-1));

  function point(row: number): void {
    if (row === pointed) return;
    pointed = row;
    surface.paint();
  }

  function ridge(row: number, x: number | null): Hit | null {
    const step = layout?.steps[row];
    if (!layout || step === undefined) return null;
    const value = x === null ? null : layout.x.value(x);
    return {
      id: String(step),
      keys: [`step:${step}`],
      lines: [`step ${format(step)}`, ...mark.sets.flatMap((set) => tell(set, step, value))],
      x: layout.x.from, y: layout.top + row * layout.spacing, width: layout.x.to - layout.x.from, height: 0,
      act: () => context.step(step),
    };
  }

  function show(): void {
    frame.update(mark, null, context.theme);
    surface.paint();
    drawn = stateOf(context);
    touch.reset(`${mark.title || "distributions"} of ${names()} at ${counted(layout?.steps.length ?? 0, "step")}; arrow keys read them, Enter goes to the step`);
  }

  show();
  return {
    update(next) {
      mark = next;
      show();
    },
    refresh() {
      if (stateOf(context) !== drawn) surface.paint();
      drawn = stateOf(context);
    },
    destroy() {
      touch.destroy();
      surface.destroy();
      element.replaceChildren();
    },
  };
};

function plan(pen: CanvasRenderingContext2D, mark: Ridges, width: number, height: number): Plan {
  const steps = [...new Set(mark.sets.flatMap((set) => [...set.steps.data]))].sort((a, b) => a - b);
  pen.font = face(10);
  const last = steps.length ? format(steps.at(-1)) : "";
  const right = Math.ceil(pen.measureText(last).width) + 10;
  const bottom = height - FOOT;
  const spacing = (bottom - 4) / (steps.length - 1 + OVERLAP || 1);
  const top = bottom - spacing * Math.max(0, steps.length - 1);
  const maxima = mark.sets.flatMap((set) => maximaOf(set)).sort((a, b) => a - b);
  const middle = maxima[maxima.length >> 1] ?? 1;
  // One needle (all values equal) must not flatten the others: it is cut, and counted.
  const full = Math.min(maxima.at(-1) ?? 1, middle * 3) || 1;
  const cut = maxima.filter((value) => value > full * 1.001).length;
  const range = mark.x_range ?? edges(mark.sets);
  return { x: new Scale(range, [4, Math.max(40, width - right)]), steps, top, spacing, full, cut, bottom, width };
}

function maximaOf(set: RidgeSet): number[] {
  const bins = set.edges.data.length - 1;
  return Array.from({ length: set.steps.data.length }, (_, row) => {
    let most = 0;
    for (let i = 0; i < bins; i++) most = Math.max(most, set.density.data[row * bins + i] || 0);
    return most;
  });
}

function edges(sets: readonly RidgeSet[]): [number, number] {
  const low = Math.min(...sets.map((set) => set.edges.data[0] ?? 0));
  const high = Math.max(...sets.map((set) => set.edges.data.at(-1) ?? 1));
  return low < high ? [low, high] : [0, 1];
}

function paint(pen: CanvasRenderingContext2D, layout: Plan, mark: Ridges, context: Context, ink: Ink, pointed: number): void {
  const { x, steps, top, spacing, bottom } = layout;
  const chosen = new Chosen(context.selection);
  const single = mark.sets.length === 1;
  paintAxis(pen, layout, mark, ink);
  const near = mark.cursor === null || !steps.length ? -1 : nearest(steps, mark.cursor);
  steps.forEach((step, row) => {
    const base = top + row * spacing;
    const strong = row === near || chosen.has(`step:${step}`);
    const here = mark.sets.map((set) => ({ set, at: set.steps.data.indexOf(step as never) })).filter(({ at }) => at >= 0);
    // Every ridge first covers those behind it, then the sets of one step are laid over one another.
    for (const { set, at } of here) fillRidge(pen, layout, set, at, base, ink.paper, single ? 0.92 : 0.85);
    for (const { set, at } of here) {
      const own = classColour(set.colour);
      if (single) fillRidge(pen, layout, set, at, base, strong ? mixed(ink, 0.16) : ink.wash, 0.92);
      else fillRidge(pen, layout, set, at, base, own, strong ? 0.45 : 0.18);
      pen.strokeStyle = !single ? own : strong ? ink.accent : row === pointed ? ink.ink : ink.muted;
      pen.lineWidth = strong || row === pointed ? 1.75 : 1;
      pen.beginPath();
      ridgePath(pen, layout, set, at, base, true);
      pen.stroke();
    }
    if (!strong || single) return;
    pen.fillStyle = ink.accent;
    pen.fillRect(x.from, base - 0.75, x.to - x.from, 1.5);
  });
  paintSteps(pen, layout, mark, ink, near, pointed);
  if (layout.cut) {
    pen.font = face(10);
    pen.fillStyle = ink.muted;
    pen.textAlign = "right";
    pen.fillText(`${counted(layout.cut, "needle")} cut off`, x.to, Math.max(10, bottom - spacing * (steps.length + OVERLAP) + 10));
  }
  if (!single) paintNames(pen, layout, mark, context);
}

function fillRidge(pen: CanvasRenderingContext2D, layout: Plan, set: RidgeSet, at: number, base: number, colour: string, alpha: number): void {
  pen.beginPath();
  ridgePath(pen, layout, set, at, base);
  pen.fillStyle = colour;
  pen.globalAlpha = alpha;
  pen.fill();
  pen.globalAlpha = 1;
}

function mixed(ink: Ink, share: number): string {
  return `color-mix(in oklab, ${ink.accent} ${share * 100}%, ${ink.paper})`;
}

function ridgePath(pen: CanvasRenderingContext2D, layout: Plan, set: RidgeSet, row: number, base: number, open = false): void {
  const bins = set.edges.data.length - 1;
  const { x, full, spacing } = layout;
  const reach = spacing * OVERLAP;
  const clampX = (value: number): number => Math.max(x.from, Math.min(x.to, x.at(value)));
  pen.moveTo(open ? x.from : clampX(set.edges.data[0] ?? 0), base);
  pen.lineTo(clampX(set.edges.data[0] ?? 0), base);
  for (let i = 0; i < bins; i++) {
    const middle = ((set.edges.data[i] as number) + (set.edges.data[i + 1] as number)) / 2;
    const density = set.density.data[row * bins + i] as number;
    if (middle < x.low || middle > x.high) continue;
    pen.lineTo(clampX(middle), base - Math.min(1, (density || 0) / full) * reach);
  }
  pen.lineTo(clampX(set.edges.data[bins] ?? 1), base);
  if (open) pen.lineTo(x.to, base);
}

function paintAxis(pen: CanvasRenderingContext2D, layout: Plan, mark: Ridges, ink: Ink): void {
  const { x, bottom } = layout;
  const ticks = x.ticks(Math.max(2, Math.round((x.to - x.from) / 80)));
  pen.font = face(11);
  pen.textBaseline = "middle";
  pen.strokeStyle = ink.hairline;
  pen.lineWidth = 1;
  for (const tick of ticks) {
    const at = Math.round(x.at(tick)) + 0.5;
    pen.beginPath();
    pen.moveTo(at, tick === 0 ? 2 : bottom);
    pen.lineTo(at, bottom + 4);
    pen.stroke();
    const text = tickText(tick, ticks);
    const half = pen.measureText(text).width / 2;
    pen.fillStyle = ink.muted;
    pen.textAlign = "center";
    pen.fillText(text, Math.max(half, Math.min(layout.width - half, at)), bottom + 13);
  }
  if (!mark.x_title) return;
  pen.textAlign = "right";
  const title = mark.x_title;
  const free = x.at(ticks.at(-1) ?? x.low) + 24;
  if (free + pen.measureText(title).width < layout.width) pen.fillText(title, layout.width, bottom + 13);
}

/** The steps beside the ridges: first, last, where the slider stands, and what the pointer is on. */
function paintSteps(pen: CanvasRenderingContext2D, layout: Plan, mark: Ridges, ink: Ink, near: number, pointed: number): void {
  const { steps, top, spacing, x } = layout;
  pen.font = face(10);
  pen.textAlign = "left";
  pen.textBaseline = "middle";
  const used: number[] = [];
  for (const row of [pointed, near, 0, steps.length - 1]) {
    const step = steps[row];
    const y = top + row * spacing;
    if (step === undefined || used.some((other) => Math.abs(other - y) < 11)) continue;
    used.push(y);
    pen.fillStyle = row === near && mark.cursor !== null ? ink.accent : ink.muted;
    pen.fillText(format(step), x.to + 6, y);
  }
}

function paintNames(pen: CanvasRenderingContext2D, { x }: Plan, mark: Ridges, context: Context): void {
  pen.font = face(11);
  pen.textAlign = "left";
  pen.textBaseline = "top";
  mark.sets.forEach((set, i) => {
    pen.fillStyle = classColour(set.colour);
    pen.fillRect(x.from, 4 + i * 14, 8, 8);
    pen.fillStyle = readable(classColour(set.colour), context.theme);
    pen.fillText(set.name, x.from + 12, 3 + i * 14);
  });
}

function tell(set: RidgeSet, step: number, value: number | null): string[] {
  const row = set.steps.data.indexOf(step as never);
  const bins = set.edges.data.length - 1;
  if (row < 0 || bins < 1) return [];
  const name = set.name ? `${set.name}: ` : "";
  if (value === null) {
    let most = 0;
    for (let i = 1; i < bins; i++) if ((set.density.data[row * bins + i] ?? 0) > (set.density.data[row * bins + most] ?? 0)) most = i;
    return [`${name}most values between ${format(set.edges.data[most])} and ${format(set.edges.data[most + 1])}`];
  }
  let bin = 0;
  while (bin < bins - 1 && value >= (set.edges.data[bin + 1] as number)) bin += 1;
  const [low, high] = [set.edges.data[bin] as number, set.edges.data[bin + 1] as number];
  const share = (set.density.data[row * bins + bin] as number) * (high - low);
  return [`${name}${format(share * 100, 2)} % between ${format(low)} and ${format(high)}`];
}

export function height(mark: Ridges, _: number, factor: number): number {
  return Math.max(LEAST.chart, mark.height * factor);
}

export function scaled(mark: Ridges, factor: number): Ridges {
  return { ...mark, height: Math.max(LEAST.chart, Math.round(mark.height * factor)) };
}

export function filling(mark: Ridges, height: number): Ridges {
  return { ...mark, height: Math.max(LEAST.chart, height) };
}
