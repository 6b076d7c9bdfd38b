// Nodes with pictures in them, joined by signed links: bundles of connections, and units held by springs.

import { classColour, css, type Theme } from "../colour.ts";
import { row } from "../picture.ts";
import type { Limits, NdArray, Network, Vertex } from "../types.ts";
import { paintImage } from "./cells.ts";
import { ensure, lastParts, make, setName, setText, svg } from "./elements.ts";
import { format, percent } from "./format.ts";
import type { Draw, Space } from "./half.ts";
import { sliderIn } from "./handle.ts";
import { head } from "./head.ts";
import { keyed, living, type Part } from "./keyed.ts";
import { seen } from "./lens.ts";
import { fitted as refitted, shrink } from "./plane.ts";

const SMALLEST = 0.55; // it is made smaller to fit, but stays readable
const [THICKEST, THINNEST] = [9, 0.6];
const [NARROWEST, LOWEST] = [0.52, 0.8]; // boxes become narrower and lower than this only with their letters
const LARGEST = 2.5; // and no larger than this in a room
const FOOT = 24; // the height of the line with the lens
const LENS = 0.3; // the lens reaches so far, as a share of the shorter side
const SIGNS: Limits = { low: -1, high: 1, scale: "diverging", nan: 0, infinite: 0, clipped: 0, unit: "" };

export const draw: Draw<Network> = (element, first, context) => {
  const frame = head(element, "network");
  const list = make("div", "network");
  const plane = make("div", "network-plane");
  const lines = svg("svg", { class: "network-lines", "aria-hidden": "true" });
  list.setAttribute("role", "listbox");
  list.append(plane);
  plane.append(lines);
  const glass = make("button", "link network-lens", "lens");
  glass.type = "button";
  frame.body.append(list, glass);
  const slid = sliderIn(frame.body, context);
  const nodes: Knot[] = [];
  const keys = keyed(list, context);
  let mark = first;
  let lens: readonly [number, number] | null = null;

  // Dots may lie close together: a lens spreads those under it, and their lines with them.
  glass.addEventListener("click", () => hold(lens ? null : [mark.extent[0] / 2, mark.extent[1] / 2]));
  list.addEventListener("pointermove", (event) => {
    if (!lens) return;
    const box = plane.getBoundingClientRect();
    const scale = box.width / Math.max(1, mark.extent[0]);
    hold([(event.clientX - box.left) / scale, (event.clientY - box.top) / scale]);
  });
  list.addEventListener("focusin", (event) => {
    const i = nodes.indexOf(event.target as Knot);
    const [left = 0, up = 0, width = 0, height = 0] = i < 0 ? [] : Array.from(row(mark.places, i).data);
    if (lens && i >= 0) hold([left + width / 2, up + height / 2]);
  });

  function hold(next: readonly [number, number] | null): void {
    lens = next;
    glass.setAttribute("aria-pressed", String(lens !== null));
    place();
  }

  function place(): void {
    const reach = LENS * Math.min(...mark.extent);
    nodes.forEach((node, i) => {
      const [left = 0, up = 0, width = 0, height = 0] = Array.from(row(mark.places, i).data);
      const dot = mark.vertices[i]?.form === "dot";
      const [x, y] = lens && dot ? seen(left + width / 2, up + height / 2, lens, reach) : [left + width / 2, up + height / 2];
      node.style.left = `${x - width / 2}px`;
      node.style.top = `${y - height / 2}px`;
    });
    wire(lines, mark, lens && ((x, y) => seen(x, y, lens as readonly [number, number], reach)));
  }

  function paint(): void {
    const numbers = mark.vertices.some((vertex) => vertex.pixels?.shape.length === 2);
    frame.update(mark, numbers ? mark.limits : null, context.theme);
    slid(mark.handle);
    list.setAttribute("aria-label", mark.title || "network of units");
    ensure(plane, nodes, mark.vertices.length, () => knot(toggle));
    nodes.forEach((node, i) => node.show(mark.vertices[i] as Vertex, row(mark.places, i).data, mark, context.theme));
    plane.style.setProperty("--plus", css(1, SIGNS, context.theme));
    plane.style.setProperty("--minus", css(-1, SIGNS, context.theme));
    glass.hidden = !isStraight(mark);
    if (glass.hidden) lens = null;
    glass.setAttribute("aria-pressed", String(lens !== null));
    place();
    fitWidth();
    keys.set(nodes, mark.vertices.map((vertex) => part(vertex, mark)));
  }

  function fitWidth(): void {
    if (!list.clientWidth) return;
    const [width, height] = mark.extent;
    shrink(plane, width, height, list.clientWidth / Math.max(1, width), SMALLEST);
  }

  function toggle(id: string): void {
    if (!mark.handle || context.fixed) return;
    context.set(mark.handle.knob, toggled(mark, id));
  }

  return refitted(list, fitWidth, living<Network>(element, context, keys, paint, (next) => {
    mark = next;
  }));
};

/** The open nodes once one of them was opened or closed, as the knob holds them. */
export function toggled(mark: Network, id: string): string {
  const open = mark.vertices.filter((vertex) => vertex.open).map((vertex) => vertex.id);
  return (open.includes(id) ? open.filter((each) => each !== id) : [...open, id]).join(",");
}

interface Knot extends HTMLDivElement {
  show(vertex: Vertex, place: ArrayLike<number>, mark: Network, theme: Theme): void;
}

function knot(toggle: (id: string) => void): Knot {
  const element = make("div", "knot") as Knot;
  const top = make("div", "knot-head");
  const caret = make("button", "caret");
  const label = make("span", "knot-label");
  const picture = make("canvas", "knot-picture");
  const words = make("div", "knot-words");
  const note = make("div", "knot-note");
  caret.type = "button";
  top.append(caret, label);
  element.append(top, picture, words, note);
  let id = "";
  caret.addEventListener("click", () => toggle(id));

  element.show = (vertex, place, mark, theme) => {
    id = vertex.id;
    element.className = `knot ${vertex.form}${vertex.faded ? " faded" : ""}${vertex.open ? " open" : ""}`;
    const [, , width = 0, height = 0] = Array.from(place);
    element.style.width = `${width}px`;
    element.style.height = `${height}px`;
    if (vertex.colour === null && !vertex.ink) element.style.removeProperty("--class");
    else element.style.setProperty("--class", vertex.ink || classColour(vertex.colour ?? 0));
    const [positive, negative] = vertex.shares;
    element.style.setProperty("--positive", `${positive + negative > 0 ? (100 * positive) / (positive + negative) : 50}%`);
    caret.hidden = !vertex.expandable;
    setText(caret, vertex.open ? "▾" : "▸");
    caret.setAttribute("aria-label", `${vertex.open ? "close" : "open"} ${vertex.label || vertex.told}`);
    caret.setAttribute("aria-expanded", String(vertex.open));
    setName(label, vertex.form === "joint" || vertex.form === "dot" ? "" : vertex.label, lastParts);
    top.hidden = vertex.form === "dot" || (!label.textContent && !vertex.expandable);
    setText(words, vertex.words.join("\n"));
    words.hidden = !vertex.words.length;
    setText(note, vertex.note);
    note.hidden = !vertex.note;
    picture.hidden = !vertex.pixels;
    picture.classList.toggle("numbers", vertex.pixels?.shape.length === 2);
    if (vertex.pixels) paintImage(picture, vertex.pixels, mark.limits, theme);
  };
  return element;
}

/** What a node tells and chooses; of a matrix the row under the pointer, and what its column stands for. */
export function part(vertex: Vertex, mark: Network): Part {
  const rowed = vertex.pixels?.shape.length === 2 && vertex.keys.length === vertex.pixels.shape[0];
  const rowAt = (y: number): number => Math.min(vertex.keys.length - 1, Math.floor(y * vertex.keys.length));
  return {
    keys: vertex.keys,
    over: ".knot-picture:not([hidden])",
    choose: (at) => (rowed ? [...columnKey(vertex, mark, at.x), vertex.keys[rowAt(at.y)] as string] : vertex.keys),
    describe: (at) => [vertex.label, ...(at && rowed ? cell(vertex, mark, at.x, rowAt(at.y)) : [vertex.note]), ...vertex.words, vertex.told, sharesOf(vertex)].filter(Boolean),
  };
}

function columnAt(vertex: Vertex, x: number): number {
  const wide = vertex.pixels?.shape[1] ?? 1;
  return Math.min(wide - 1, Math.floor(x * wide));
}

/** What the column of a cell stands for: chosen before its row, so that the row is what is told about. */
function columnKey(vertex: Vertex, mark: Network, x: number): string[] {
  const key = mark.column_keys[columnAt(vertex, x)];
  return key ? [key] : [];
}

/** What one cell of a matrix says. */
function cell(vertex: Vertex, mark: Network, x: number, at: number): string[] {
  const pixels = vertex.pixels as NdArray;
  const wide = pixels.shape[1] ?? 1;
  const column = columnAt(vertex, x);
  const name = mark.column_labels[column] ?? `column ${column}`;
  return [`unit ${(vertex.keys[at] ?? "").split("/").at(-1) ?? ""}`, `${name}: ${format(pixels.data[at * wide + column])}`];
}

function sharesOf(vertex: Vertex): string {
  const [positive, negative] = vertex.shares;
  if (vertex.form !== "joint" || !(positive + negative > 0)) return "";
  return `${percent(positive / (positive + negative))} of the strength positive`;
}

/** Whether all links are straight lines between dots. */
function isStraight(mark: Network): boolean {
  return !mark.vertices.some((vertex) => vertex.form === "box" || vertex.form === "joint");
}

/** The links: as thick as they are strong, blue where positive and orange where negative. */
function wire(surface: SVGSVGElement, mark: Network, through: ((x: number, y: number) => readonly [number, number]) | null): void {
  surface.setAttribute("width", String(mark.extent[0]));
  surface.setAttribute("height", String(mark.extent[1]));
  const straight = isStraight(mark);
  const count = mark.ends?.shape[0] ?? 0;
  while (surface.childElementCount > count) surface.lastElementChild?.remove();
  while (surface.childElementCount < count) surface.append(svg("path"));
  for (let i = 0; i < count && mark.ends; i++) {
    const strength = mark.strengths.data[i] as number;
    const line = surface.children[i] as SVGPathElement;
    const [x = 0, y = 0, to = 0, down = 0] = Array.from(row(mark.ends, i).data);
    line.setAttribute("d", link(through ? [...through(x, y), ...through(to, down)] : [x, y, to, down], straight));
    line.setAttribute("class", strength < 0 ? "link negative" : "link");
    line.setAttribute("stroke-width", String(thickness(strength, mark.strongest)));
  }
}

/** How thick a link is drawn. */
export function thickness(strength: number, strongest: number): number {
  const share = Number.isFinite(strength) ? Math.abs(strength) / (strongest || 1) : 0;
  return Math.round(100 * Math.max(THINNEST, Math.min(THICKEST, share * THICKEST))) / 100;
}

/** The way of a link: straight, or leaving and arriving level. */
export function link(ends: ArrayLike<number>, straight: boolean): string {
  const [x = 0, y = 0, to = 0, down = 0] = Array.from(ends, (value) => Math.round(value * 10) / 10);
  const middle = Math.round(5 * (x + to)) / 10;
  return straight ? `M${x} ${y}L${to} ${down}` : `M${x} ${y}C${middle} ${y} ${middle} ${down} ${to} ${down}`;
}

/** Wide and high as its place: boxes and what lies between them are stretched or pressed, dots move apart, letters stay as they are. */
export function fitted(mark: Network, space: Space, around: number): { mark: Network; width: number | null } | null {
  const [width, height] = mark.extent;
  const straight = isStraight(mark);
  if (!width || !height) return null;
  const most = space.enlarged ? 4 : LARGEST;
  const [wide, high] = [space.width / width, (space.height - around - (straight ? FOOT : 4)) / height];
  const alike = between(1, Math.min(wide, high), most);
  const across = straight ? alike : between(NARROWEST, wide, most);
  const down = straight ? alike : between(mark.vertices.some((vertex) => vertex.pixels) ? LOWEST : 1, high / between(SMALLEST, wide / across, 1), most);
  const places = Float32Array.from(mark.places.data as ArrayLike<number>);
  mark.vertices.forEach((vertex, i) => places.set(stretched(row(mark.places, i).data, vertex, across, down, straight), 4 * i));
  const ends = Float32Array.from((mark.ends?.data ?? []) as ArrayLike<number>);
  for (let k = 0; k < ends.length; k += 2) {
    // A line keeps its place on the side of its node.
    const at = 4 * Number(mark.links.data[k / 2]);
    for (const axis of [0, 1]) {
      const [before, size, now, sized] = [mark.places.data[at + axis], mark.places.data[at + 2 + axis], places[at + axis], places[at + 2 + axis]].map(Number) as [number, number, number, number];
      ends[k + axis] = now + (size ? ((ends[k + axis]! - before) / size) * sized : 0);
    }
  }
  const data = { places: { ...mark.places, data: places }, ends: mark.ends && { ...mark.ends, data: ends } };
  return { mark: { ...mark, ...data, extent: [width * across, height * down] }, width: null };
}

/** Where a node lies then: what holds letters alone stays as high as they are. */
function stretched(place: ArrayLike<number>, vertex: Vertex, across: number, down: number, straight: boolean): number[] {
  const [left = 0, top = 0, width = 0, height = 0] = Array.from(place);
  const still = straight || vertex.form === "joint" || vertex.form === "dot";
  const share = vertex.form === "box" && (vertex.pixels || down > 1) ? down : vertex.form === "joint" ? Math.min(1, down) : 1;
  const [wide, high] = [still ? width : width * across, height * share];
  if (vertex.form === "heading" && !straight) return [left * across, top * down, wide, high];
  return [(left + width / 2) * across - wide / 2, (top + height / 2) * down - high / 2, wide, high];
}

function between(low: number, value: number, high: number): number {
  return Math.max(low, Math.min(high, value));
}
