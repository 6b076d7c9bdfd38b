// A nested graph of blocks: as cards one below the other (the network map), or laid out as a graph with what flows between.

import { css } from "../colour.ts";
import { row } from "../picture.ts";
import type { Block, Blocks, NdArray } from "../types.ts";
import { card, type Card } from "./card.ts";
import { ensure, make, setText, svg } from "./elements.ts";
import { withUnit } from "./format.ts";
import type { Draw } from "./half.ts";
import { head } from "./head.ts";
import { keyed, living, type Part } from "./keyed.ts";
import { fitted, shrink } from "./plane.ts";

const SMALLEST = 0.6; // a graph is made smaller to fit, but stays readable

export const draw: Draw<Blocks> = (element, first, context) => {
  const frame = head(element, "blocks");
  const list = make("div", "blocks");
  const plane = make("div", "blocks-plane");
  const wires = svg("svg", { class: "wires", "aria-hidden": "true" });
  list.setAttribute("role", "listbox");
  list.append(plane);
  frame.body.append(list);
  const cards: Card[] = [];
  const flows: HTMLElement[] = [];
  const keys = keyed(list, context);
  let mark = first;
  let byId: ById = new Map();
  let wired: Blocks | null = null; // the graph whose lines are drawn

  function paint(): void {
    const theme = context.theme;
    frame.update(mark, mark.limits, theme);
    const graph = mark.layout === "graph";
    list.classList.toggle("graph", graph);
    list.setAttribute("aria-label", mark.title || "network");
    ensure(plane, cards, mark.blocks.length, () => card(toggle));
    byId = new Map(mark.blocks.map((block) => [block.id, block]));
    const holders = new Set(graph ? mark.blocks.map((block) => block.parent) : []);
    cards.forEach((item, i) => {
      const block = mark.blocks[i] as Block;
      item.show(block, theme, graph, block.value === null || !mark.limits ? null : css(block.value, mark.limits, theme));
      item.hidden = !graph && !visible(block, byId);
      item.classList.toggle("container", holders.has(block.id));
    });
    if (graph) paintGraph();
    else paintList();
    keys.set(cards, mark.blocks.map((block) => part(block, mark)));
  }

  function paintList(): void {
    wired = null;
    wires.remove();
    plane.removeAttribute("style");
    const between = flowsBetween(mark);
    ensure(plane, flows, between.length, () => make("div", "flow"));
    between.forEach((text, i) => {
      const [item, flow] = [cards[i] as Card, flows[i] as HTMLElement];
      item.removeAttribute("style");
      item.style.setProperty("--depth", String(depth(mark.blocks[i] as Block, byId)));
      setText(flow, text);
      flow.hidden = !text;
      if (item.nextElementSibling !== flow || (i > 0 && item.previousElementSibling !== flows[i - 1])) plane.append(item, flow);
    });
  }

  function paintGraph(): void {
    ensure(plane, flows, 0, () => make("div"));
    // Lines are drawn anew only where the graph changed: while time is scrubbed all stays where it is.
    if (!wired || !sameGraph(wired, mark)) wire(wires, mark);
    wired = mark;
    if (!wires.isConnected) plane.append(wires);
    cards.forEach((item, i) => {
      const [left = 0, top = 0, width = 0, height = 0] = numbers(mark.places, i);
      item.style.left = `${left}px`;
      item.style.top = `${top}px`;
      item.style.width = `${width}px`;
      item.style.height = `${height}px`;
    });
    fitWidth();
  }

  function fitWidth(): void {
    if (mark.layout !== "graph" || !list.clientWidth) return;
    const [width, height] = mark.extent;
    const scale = shrink(plane, width, height + 4, (list.clientWidth - 4) / (width + 4), SMALLEST);
    plane.style.marginLeft = `${Math.max(2, (list.clientWidth - width * scale) / 2)}px`;
  }

  function toggle(id: string): void {
    if (!mark.handle) return;
    const open = mark.blocks.filter((block) => block.open !== (block.id === id) && (block.open || block.id === id));
    context.set(mark.handle.knob, open.map((block) => block.id).join(","));
  }

  return fitted(list, fitWidth, living<Blocks>(element, context, keys, paint, (next) => {
    mark = next;
  }));
};

type ById = ReadonlyMap<string, Block>;

/** In a list, what lies in a closed block is not shown. */
function visible(block: Block, byId: ById): boolean {
  for (let at = byId.get(block.parent); at; at = byId.get(at.parent)) if (at.expandable && !at.open) return false;
  return true;
}

function depth(block: Block, byId: ById): number {
  let count = 0;
  for (let at = byId.get(block.parent); at; at = byId.get(at.parent)) count += 1;
  return count;
}

/** What is written between one card and the next: the label of the edge that joins them. */
export function flowsBetween(mark: Blocks): string[] {
  const labels = new Map<string, string>();
  for (const { source, target, label } of mark.edges) if (!labels.has(`${source}\u0001${target}`)) labels.set(`${source}\u0001${target}`, label);
  return mark.blocks.map((block, i) => labels.get(`${block.id}\u0001${mark.blocks[i + 1]?.id ?? ""}`) ?? "");
}

function part(block: Block, mark: Blocks): Part {
  const value = block.value === null ? "" : `${mark.value_title || "value"}: ${withUnit(block.value, mark.limits?.unit ?? "")}`;
  return {
    keys: block.key ? [block.key] : [],
    choose: (at) => {
      const unit = unitAt(block, at.x);
      return unit ? [unit] : block.key ? [block.key] : [];
    },
    describe: (at) => [at && unitAt(block, at.x) ? `${block.label}, unit ${unitAt(block, at.x)?.split("/").at(-1)}` : block.label, [block.kind, block.detail].filter(Boolean).join(" · "), value, block.warning, block.notes.join(" · ")],
  };
}

/** The unit whose small map, or whose cell of the strip, stands so far to the right; null where the maps are no units. */
export function unitAt(block: Block, share: number): string | null {
  const [count = 0, height = 1, width = 1] = block.maps?.shape ?? [];
  if (!count || !block.key.startsWith("layer:") || (count === 1 && height > 1)) return null;
  const units = count === 1 && height === 1 ? width : count;
  return `unit:${block.key.slice("layer:".length)}/${Math.min(units - 1, Math.floor(share * units))}`;
}

/** Whether two graphs have the same lines in the same places. */
export function sameGraph(one: Blocks, other: Blocks): boolean {
  const equal = (a: NdArray | null, b: NdArray | null): boolean =>
    a === b || (a !== null && b !== null && a.data.length === b.data.length && a.data.every((value, i) => value === b.data[i]));
  return equal(one.points, other.points) && equal(one.routes, other.routes) && one.edges.every((edge, i) => edge.label === other.edges[i]?.label && edge.share === other.edges[i]?.share);
}

/** The lines between blocks, with an arrow where they arrive and the name of what flows where there is room. */
function wire(surface: SVGSVGElement, mark: Blocks): void {
  const [width, height] = mark.extent;
  surface.setAttribute("width", String(width));
  surface.setAttribute("height", String(height));
  surface.replaceChildren();
  const named = new Set<string>();
  for (let i = 0; i < (mark.routes?.shape[0] ?? 0); i++) {
    const [begin = 0, count = 0, which = 0, arrow = 0] = numbers(mark.routes, i);
    const points = Array.from({ length: count }, (_, at) => numbers(mark.points, begin + at));
    const line = svg("path", { class: "wire", d: curve(points) });
    const share = mark.edges[which]?.share ?? null;
    if (share !== null) line.style.strokeWidth = `${thickness(share)}px`;
    surface.append(line);
    const [endX = 0, endY = 0] = points.at(-1) ?? [];
    if (arrow) surface.append(svg("path", { class: "arrow", d: `M${endX - 3.5} ${endY - 6}L${endX} ${endY}L${endX + 3.5} ${endY - 6}` }));
    const edge = mark.edges[which];
    const [startX = 0, startY = 0] = points[0] ?? [];
    if (!edge?.label || named.has(`${edge.source} ${edge.label}`)) continue;
    named.add(`${edge.source} ${edge.label}`);
    const text = svg("text", { class: "wire-label", x: startX + 5, y: startY + 13 });
    text.textContent = edge.label;
    surface.append(text);
  }
}

/** How thick a line is whose share is told: from a hair to what is seen at once. */
export function thickness(share: number): number {
  return round(0.5 + 7.5 * Math.max(0, Math.min(1, share)));
}

/** A line through its points, bent where it goes across. */
export function curve(points: readonly ArrayLike<number>[]): string {
  let text = "";
  let [x, y] = [0, 0];
  points.forEach((point, i) => {
    const [nextX, nextY] = [point[0] as number, point[1] as number];
    const middle = (y + nextY) / 2;
    if (!i) text = `M${round(nextX)} ${round(nextY)}`;
    else if (Math.abs(nextX - x) < 0.5) text += `L${round(nextX)} ${round(nextY)}`;
    else text += `C${round(x)} ${round(middle)} ${round(nextX)} ${round(middle)} ${round(nextX)} ${round(nextY)}`;
    [x, y] = [nextX, nextY];
  });
  return text;
}

function numbers(array: NdArray | null, index: number): Iterable<number> & ArrayLike<number> {
  return array ? row(array, index).data : [];
}

function round(value: number): number {
  return Math.round(value * 10) / 10;
}
