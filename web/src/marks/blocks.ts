// A nested graph of blocks: as cards one below the other (the network map), or laid out as a graph with what flows between.

import { css } from "../colour.ts";
import type { Block, Blocks } from "../types.ts";
import { card, measure, type Card } from "./card.ts";
import { ensure, make, setText, svg } from "./elements.ts";
import { withUnit } from "./format.ts";
import type { Draw } from "./half.ts";
import { head } from "./head.ts";
import { keyed, living, type Part } from "./keyed.ts";
import { layered, type Layout, type Route } from "./layered.ts";

const SPACING = { across: 18, down: 30, padding: 10, title: 20 };
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
  let laid: Layout | null = null;
  let signature = "";

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
    signature = "";
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
    const sizes = mark.blocks.map((block) => ({ id: block.id, parent: block.parent, ...measure(block) }));
    const next = JSON.stringify([sizes, mark.edges]);
    if (next !== signature) {
      // Blocks move only where the graph changed, so that scrubbing keeps every block where it is.
      signature = next;
      laid = layered(sizes, mark.edges, SPACING);
      wire(wires, laid, mark);
    }
    if (!wires.isConnected) plane.append(wires);
    cards.forEach((item, i) => {
      const place = laid?.places.get(mark.blocks[i]?.id ?? "");
      if (!place) return;
      item.style.left = `${place.x}px`;
      item.style.top = `${place.y}px`;
      item.style.width = `${place.width}px`;
      item.style.height = `${place.height}px`;
    });
    fitWidth();
  }

  function fitWidth(): void {
    if (!laid || mark.layout !== "graph" || !list.clientWidth) return;
    const scale = Math.max(SMALLEST, Math.min(1, (list.clientWidth - 4) / (laid.width + 4)));
    plane.style.width = `${laid.width}px`;
    plane.style.height = `${laid.height + 4}px`;
    plane.style.transform = scale < 1 ? `scale(${scale})` : "none";
    plane.style.marginLeft = `${Math.max(2, (list.clientWidth - laid.width * scale) / 2)}px`;
    plane.style.marginBottom = `${-(laid.height + 4) * (1 - scale)}px`;
    plane.style.marginRight = `${-laid.width * (1 - scale)}px`;
  }

  function toggle(id: string): void {
    if (!mark.handle) return;
    const open = mark.blocks.filter((block) => block.open !== (block.id === id) && (block.open || block.id === id));
    context.set(mark.handle.knob, open.map((block) => block.id).join(","));
  }

  const watch = new ResizeObserver(fitWidth);
  watch.observe(list);
  const drawn = living<Blocks>(element, context, keys, paint, (next) => {
    mark = next;
  });
  return {
    ...drawn,
    destroy() {
      watch.disconnect();
      drawn.destroy();
    },
  };
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

/** The lines between blocks, with an arrow where they arrive and the name of what flows where there is room. */
function wire(surface: SVGSVGElement, layout: Layout, mark: Blocks): void {
  surface.setAttribute("width", String(layout.width));
  surface.setAttribute("height", String(layout.height));
  surface.replaceChildren();
  const named = new Set<string>();
  for (const route of layout.routes) {
    surface.append(svg("path", { class: "wire", d: curve(route) }));
    const end = route.points.at(-1);
    if (route.arrow && end) surface.append(svg("path", { class: "arrow", d: `M${end[0] - 3.5} ${end[1] - 6}L${end[0]} ${end[1]}L${end[0] + 3.5} ${end[1] - 6}` }));
    const edge = mark.edges[route.edge];
    const start = route.points[0];
    if (!edge?.label || !start || named.has(`${edge.source} ${edge.label}`)) continue;
    named.add(`${edge.source} ${edge.label}`);
    const text = svg("text", { class: "wire-label", x: start[0] + 5, y: start[1] + 13 });
    text.textContent = edge.label;
    surface.append(text);
  }
}

function curve({ points }: Route): string {
  const [first, ...rest] = points;
  if (!first) return "";
  let [x, y] = first;
  let text = `M${round(x)} ${round(y)}`;
  for (const [nextX, nextY] of rest) {
    const middle = (y + nextY) / 2;
    text += Math.abs(nextX - x) < 0.5 ? `L${round(nextX)} ${round(nextY)}` : `C${round(x)} ${round(middle)} ${round(nextX)} ${round(middle)} ${round(nextX)} ${round(nextY)}`;
    [x, y] = [nextX, nextY];
  }
  return text;
}

function round(value: number): number {
  return Math.round(value * 10) / 10;
}

