// One block: its name, its size, its small maps, its curve, its facts and its warning.

import type { Theme } from "../colour.ts";
import { row } from "../picture.ts";
import type { Block } from "../types.ts";
import { context2d, drawScaled, paintImage } from "./cells.ts";
import { make, setName, setText, svg } from "./elements.ts";

const MAP = 17;
const GAP = 2;

export interface Card extends HTMLDivElement {
  show(block: Block, theme: Theme, graph: boolean, colour: string | null): void;
}

/** A card; `toggle` is told the id of a block that is to open or close. */
export function card(toggle: (id: string) => void): Card {
  const element = make("div", "block") as Card;
  const top = make("div", "block-head");
  const caret = make("button", "caret");
  const label = make("span", "block-label");
  const detail = make("span", "block-detail");
  const spark = svg("svg", { class: "spark", viewBox: "0 0 100 100", preserveAspectRatio: "none", "aria-hidden": "true" });
  const curve = svg("path");
  const maps = make("canvas", "block-maps");
  const notes = make("div", "block-notes");
  const warning = make("div", "block-warning");
  caret.type = "button";
  spark.append(curve);
  top.append(caret, label, detail, spark);
  element.append(top, maps, notes, warning);
  let id = "";
  caret.addEventListener("click", () => toggle(id));

  element.show = (block, theme, graph, colour) => {
    id = block.id;
    caret.hidden = !block.expandable;
    setText(caret, block.open ? "▾" : "▸");
    caret.setAttribute("aria-label", `${block.open ? "close" : "open"} ${block.label}`);
    caret.setAttribute("aria-expanded", String(block.open));
    setName(label, block.label);
    setText(detail, block.detail);
    detail.hidden = !block.detail;
    element.classList.toggle("op", !block.expandable && block.id.startsWith("op:"));
    element.classList.toggle("valued", colour !== null);
    if (colour === null) element.style.removeProperty("--value");
    else element.style.setProperty("--value", colour);
    element.classList.toggle("filled", graph && block.share !== null);
    if (graph && block.share !== null) element.style.setProperty("--filled", `${Math.round(1000 * block.share) / 10}%`);
    spark.toggleAttribute("hidden", !block.spark?.data.length || graph);
    if (block.spark && !graph) curve.setAttribute("d", sparkPath(block.spark.data));
    maps.hidden = !block.maps?.shape[0];
    if (block.maps?.shape[0]) paintMaps(maps, block, theme);
    notes.hidden = !block.notes.length;
    while (notes.children.length > block.notes.length) notes.lastElementChild?.remove();
    while (notes.children.length < block.notes.length) notes.append(make("span"));
    block.notes.forEach((note, i) => setText(notes.children[i] as HTMLElement, note));
    warning.hidden = !block.warning;
    setText(warning, block.warning);
  };
  return element;
}

/** A row of small maps; a layer without places (one row of numbers) becomes one strip over the whole width. */
function paintMaps(canvas: HTMLCanvasElement, block: Block, theme: Theme): void {
  if (!block.maps) return;
  const [count = 0, height = 1, width = 1] = block.maps.shape;
  const strip = count === 1 && height === 1;
  canvas.classList.toggle("strip", strip);
  if (strip) {
    canvas.style.removeProperty("width");
    canvas.style.removeProperty("height");
    paintImage(canvas, row(block.maps, 0), block.maps_limits, theme);
    return;
  }
  const density = Math.max(1, devicePixelRatio || 1);
  const wide = Math.min(4, width / height) * MAP;
  const [across, down] = [count * (wide + GAP) - GAP, MAP];
  const size = [Math.round(across * density), Math.round(down * density)] as const;
  if (canvas.width !== size[0]) canvas.width = size[0];
  if (canvas.height !== size[1]) canvas.height = size[1];
  canvas.style.width = `${across}px`;
  canvas.style.height = `${down}px`;
  const pen = context2d(canvas);
  pen.setTransform(1, 0, 0, 1, 0, 0);
  pen.clearRect(0, 0, canvas.width, canvas.height);
  for (let i = 0; i < count; i++) {
    const left = Math.round(i * (wide + GAP) * density);
    drawScaled(pen, row(block.maps, i), block.maps_limits, theme, left, 0, Math.round(wide * density), size[1]);
  }
}

/** The curve of a card in a square of 100; breaks where there is no number. */
export function sparkPath(values: ArrayLike<number>): string {
  let low = Infinity;
  let high = -Infinity;
  for (let i = 0; i < values.length; i++) {
    const value = values[i] as number;
    if (!Number.isFinite(value)) continue;
    low = Math.min(low, value);
    high = Math.max(high, value);
  }
  if (!(low <= high)) return "";
  let text = "";
  let drawing = false;
  for (let i = 0; i < values.length; i++) {
    const value = values[i] as number;
    if (!Number.isFinite(value)) {
      drawing = false;
      continue;
    }
    const x = values.length > 1 ? (i / (values.length - 1)) * 100 : 50;
    const y = high > low ? 95 - ((value - low) / (high - low)) * 90 : 50;
    text += `${drawing ? "L" : "M"}${Math.round(x * 10) / 10} ${Math.round(y * 10) / 10}`;
    drawing = true;
  }
  return text;
}
