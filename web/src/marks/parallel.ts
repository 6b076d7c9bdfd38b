// Parallel coordinates: one upright axis a quantity, one line an item, broken where it has no number.

import { classColour } from "../colour.ts";
import type { Parallel } from "../types.ts";
import { make, setText, svg } from "./elements.ts";
import { format } from "./format.ts";
import { LEAST, type Draw } from "./half.ts";
import { head } from "./head.ts";
import { keyed, living, type Part } from "./keyed.ts";
import { fitted } from "./plane.ts";

const PAD = 34;
const TOP = 30;
const FOOT = 16;

interface Item {
  group: SVGGElement;
  /** A wide unseen line under the thin one, so that it can be pointed at. */
  reach: SVGPathElement;
  line: SVGPathElement;
}

export const draw: Draw<Parallel> = (element, first, context) => {
  const frame = head(element, "parallel", context);
  const plane = make("div", "parallel");
  const sheet = svg("svg", { class: "parallel-sheet" });
  const [axes, lines] = [svg("g", { "aria-hidden": "true" }), svg("g")];
  const missing = make("div", "mark-detail");
  plane.setAttribute("role", "listbox");
  sheet.append(lines, axes);
  plane.append(sheet);
  frame.body.append(plane, missing);
  const items: Item[] = [];
  const keys = keyed(plane, context, { dim: true });
  let mark = first;

  function paint(): void {
    frame.update(mark, null, context.theme);
    plane.setAttribute("aria-label", mark.title || "parallel coordinates");
    const [count = 0] = mark.values.shape;
    while (items.length > count) items.pop()?.group.remove();
    while (items.length < count) {
      const item = { group: svg("g", { class: "parallel-item" }), reach: svg("path", { class: "parallel-reach" }), line: svg("path", { class: "parallel-line" }) };
      item.group.append(item.reach, item.line);
      lines.append(item.group);
      items.push(item);
    }
    place();
    items.forEach(({ line }, i) => {
      const colour = mark.colours[i];
      line.style.stroke = colour === undefined ? "" : classColour(colour);
    });
    const odd = mark.values.data.filter((value: number) => !Number.isFinite(value)).length;
    setText(missing, odd ? `${format(odd)} without a number: there the line breaks` : "");
    missing.hidden = !odd;
    // The lines are elements of SVG: what `keyed` asks of them, they have as well.
    keys.set(items.map(({ group }) => group as unknown as HTMLElement), items.map((_, i) => part(mark, i)));
  }

  function place(): void {
    const width = Math.max(2 * PAD + 1, plane.clientWidth || 320);
    sheet.setAttribute("width", String(width));
    sheet.setAttribute("height", String(TOP + mark.height + FOOT));
    const at = mark.axes.map((_, i) => (mark.axes.length > 1 ? PAD + ((width - 2 * PAD) * i) / (mark.axes.length - 1) : width / 2));
    items.forEach(({ reach, line }, i) => {
      const path = course(mark, i, at);
      reach.setAttribute("d", path);
      line.setAttribute("d", path);
    });
    axes.replaceChildren(...mark.axes.flatMap((name, i) => {
      const [x, [low, high]] = [at[i] ?? 0, mark.spans[i] ?? [0, 1]];
      const foot = TOP + mark.height;
      return [
        svg("path", { class: "parallel-axis", d: `M${x} ${TOP}V${foot}` }),
        words(x, 11, cut(name, (at[1] ?? 2 * width) - (at[0] ?? 0)), "parallel-name"), words(x, TOP - 5, format(high, 3)), words(x, foot + 12, format(low, 3)),
      ];
    }));
  }

  return fitted(plane, place, living<Parallel>(element, context, keys, paint, (next) => (mark = next)));
};

function words(x: number, y: number, text: string, name = "parallel-end"): SVGTextElement {
  const element = svg("text", { x, y, class: name });
  element.textContent = text;
  return element;
}

/** A name that has so much room; its middle goes first, for names tell most by their ends. */
function cut(name: string, room: number): string {
  const most = Math.max(4, Math.floor((room - 8) / 6.6));
  return name.length <= most ? name : `${name.slice(0, Math.ceil((most - 1) / 2))}…${name.slice(name.length - Math.floor((most - 1) / 2))}`;
}

function valueOf(mark: Parallel, item: number, axis: number): number {
  return mark.values.data[item * mark.axes.length + axis] ?? NaN;
}

/** The way of one item's line; a number alone between two gaps is a dot. */
export function course(mark: Parallel, item: number, at: readonly number[]): string {
  let path = "";
  let drawing = false;
  at.forEach((x, i) => {
    const [value, [low, high]] = [valueOf(mark, item, i), mark.spans[i] ?? [0, 1]];
    const share = Math.max(0, Math.min(1, (value - low) / (high > low ? high - low : 1)));
    if (Number.isFinite(value)) path += `${drawing ? "L" : "M"}${round(x)} ${round(TOP + mark.height * (1 - share))}${drawing ? "" : "h0.01"}`;
    drawing = Number.isFinite(value);
  });
  return path;
}

function round(value: number): number {
  return Math.round(value * 10) / 10;
}

function part(mark: Parallel, i: number): Part {
  const key = mark.keys[i];
  return {
    keys: key ? [key] : [],
    describe: () => [mark.labels[i] ?? `item ${i}`, ...mark.axes.map((name, at) => `${name}: ${format(valueOf(mark, i, at))}`)],
  };
}

export function height(mark: Parallel, _: number, factor: number): number {
  return Math.max(LEAST.chart, mark.height * factor) + TOP + FOOT;
}

export function scaled(mark: Parallel, factor: number): Parallel {
  return { ...mark, height: Math.max(LEAST.chart, Math.round(mark.height * factor)) };
}

export function filling(mark: Parallel, height: number): Parallel {
  return { ...mark, height: Math.max(LEAST.chart, height - TOP - FOOT) };
}
