// One bar a label. Lying bars are rows with their numbers at the end; standing ones are the small columns of the answer.

import { classColour, css } from "../colour.ts";
import type { Bars } from "../types.ts";
import type { Context } from "./context.ts";
import { ensure, lastParts, make, setName, setText } from "./elements.ts";
import { format, percent, withUnit } from "./format.ts";
import type { Draw } from "./half.ts";
import { head } from "./head.ts";
import { keyed, living } from "./keyed.ts";
import { fitted } from "./plane.ts";

interface Bar extends HTMLDivElement {
  label: HTMLElement;
  track: HTMLElement;
  fill: HTMLElement;
  tick: HTMLElement;
  value: HTMLElement;
}

export const draw: Draw<Bars> = (element, first, context) => {
  const frame = head(element, "bars", context);
  const list = make("div", "bars");
  list.setAttribute("role", "listbox");
  frame.body.append(list);
  const items: Bar[] = [];
  const keys = keyed(list, context, { dim: true });
  let mark = first;

  function paint(): void {
    // A bar without a number says so itself, so that the legend need not count them.
    const colourful = mark.limits?.scale === "diverging" && !mark.colours.length ? { ...mark.limits, nan: 0 } : null;
    frame.update(mark, colourful, context.theme);
    list.classList.toggle("standing", !mark.horizontal);
    list.setAttribute("aria-label", mark.title || "bars");
    list.style.setProperty("--labels", `${Math.min(16, Math.max(1, ...mark.labels.map((label) => label.length)))}ch`);
    const scale = span(mark);
    list.classList.toggle("signed", scale.low < 0);
    ensure(list, items, mark.labels.length, makeBar);
    items.forEach((bar, i) => fill(bar, mark, i, scale, context));
    turn();
    keys.set(items, items.map((_, i) => ({
      keys: mark.keys[i] ? [mark.keys[i] ?? ""] : [],
      describe: () => [mark.labels[i] ?? "", shown(mark, i), reference(mark, i), mark.notes[i] ?? ""],
    })));
  }

  /** Names that are wider than the bars they stand under get more room, and where there is none are written upwards: each is whole. */
  function turn(): void {
    list.classList.remove("upright", "roomy");
    for (const way of ["roomy", "upright"]) {
      if (mark.horizontal || !items.some(({ label }) => label.scrollWidth > label.clientWidth + 1)) return;
      list.classList.remove("roomy");
      list.classList.add(way);
    }
    // All bars stand on one line.
    list.style.setProperty("--tall", "auto");
    list.style.setProperty("--tall", `${Math.max(...items.map(({ label }) => label.offsetHeight))}px`);
  }

  return fitted(list, turn, living<Bars>(element, context, keys, paint, (next) => {
    mark = next;
  }));
};

function makeBar(): Bar {
  const bar = make("div", "bar") as Bar;
  bar.label = make("span", "bar-label");
  bar.track = make("span", "bar-track");
  bar.fill = make("span", "bar-fill");
  bar.tick = make("span", "bar-tick");
  bar.value = make("span", "bar-value");
  bar.track.append(bar.fill, bar.tick);
  bar.append(bar.label, bar.track, bar.value);
  return bar;
}

/** The range that all bars share; zero is always in it. */
export function span(mark: Bars): { low: number; high: number } {
  if (mark.limits) return { low: Math.min(0, mark.limits.low), high: Math.max(0, mark.limits.high) };
  const all = [...mark.values.data, ...(mark.reference?.data ?? [])].filter(Number.isFinite);
  const low = Math.min(0, ...all);
  const high = Math.max(0, ...all);
  return low === high ? { low: 0, high: 1 } : { low, high };
}

function fill(bar: Bar, mark: Bars, i: number, scale: { low: number; high: number }, context: Context): void {
  const value = mark.values.data[i] ?? 0;
  const share = (at: number): number => Math.max(0, Math.min(1, (at - scale.low) / (scale.high - scale.low)));
  const zero = share(0);
  const end = Number.isNaN(value) ? zero : share(value);
  const along = mark.horizontal ? (["left", "width"] as const) : (["bottom", "height"] as const);
  bar.fill.removeAttribute("style");
  bar.fill.style[along[0]] = `${Math.min(zero, end) * 100}%`;
  bar.fill.style[along[1]] = `${Math.abs(end - zero) * 100}%`;
  bar.fill.style.backgroundColor = colour(mark, i, value, context);
  bar.track.classList.toggle("nan", Number.isNaN(value));
  bar.track.classList.toggle("clipped", Number.isFinite(value) && (value > scale.high * 1.000001 || value < scale.low * 1.000001));
  const other = mark.reference?.data[i];
  // A probability of nothing needs no tick: the truth has one class, and the others would all be ticked at zero.
  bar.tick.hidden = other === undefined || Number.isNaN(other) || (other === 0 && mark.limits?.scale === "probability");
  bar.tick.removeAttribute("style");
  if (other !== undefined) bar.tick.style[along[0]] = `${share(other) * 100}%`;
  bar.classList.toggle("strong", mark.strong === i);
  if (mark.horizontal) setName(bar.label, mark.labels[i] ?? "", lastParts);
  else setText(bar.label, mark.labels[i] ?? "");
  // Of what a share is told where it is asked for: beside the bar there is room for the number.
  setText(bar.value, mark.notes[i] || (shared(mark) ? percent(value) : shown(mark, i)));
}

function colour(mark: Bars, i: number, value: number, context: Context): string {
  const index = mark.colours[i];
  if (index !== undefined) return index < 0 ? "var(--muted)" : classColour(index);
  if (mark.limits?.scale === "diverging") return css(Math.sign(value) * mark.limits.high * 0.8, mark.limits, context.theme);
  return value < 0 ? "var(--negative)" : mark.values.data.some((other) => other < 0) ? "var(--positive)" : "var(--bar)";
}

/** Whether its numbers are shares of something that its unit names. */
function shared(mark: Bars): boolean {
  return mark.unit.startsWith("share of ");
}

function shown(mark: Bars, i: number): string {
  const value = mark.values.data[i] ?? NaN;
  if (shared(mark)) return `${percent(value)} ${mark.unit.slice("share ".length)}`;
  if (mark.unit === "%") return percent(value / 100);
  if (mark.limits?.scale === "probability") return percent(value);
  return withUnit(value, mark.unit);
}

function reference(mark: Bars, i: number): string {
  const other = mark.reference?.data[i];
  if (mark.limits?.scale === "probability" && (other === 0 || other === 1)) return other ? "tick: the truth" : "";
  return other === undefined ? "" : `tick: ${format(other)}${mark.unit ? ` ${mark.unit}` : ""}`;
}

export function height(mark: Bars): number {
  return mark.horizontal ? mark.values.data.length * 19 : 74;
}
