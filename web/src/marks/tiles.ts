// A grid of small pictures: weights, activation maps, examples. Each is a canvas in its own pixels, enlarged by the style sheet.

import { row } from "../picture.ts";
import type { NdArray, Tiles } from "../types.ts";
import { paintImage } from "./cells.ts";
import { ensure, make, setText } from "./elements.ts";
import { counted, format } from "./format.ts";
import { LEAST, type Draw } from "./half.ts";
import { head } from "./head.ts";
import { keyed, living, type Part } from "./keyed.ts";

const LABEL = 14; // a line of words under a picture

interface Tile extends HTMLDivElement {
  canvas: HTMLCanvasElement;
  badge: HTMLElement;
  box: HTMLElement;
  label: HTMLElement;
  note: HTMLElement;
}

export const draw: Draw<Tiles> = (element, first, context) => {
  const frame = head(element, "tiles", context);
  const grid = make("div", "tiles");
  grid.setAttribute("role", "listbox");
  grid.setAttribute("aria-multiselectable", "true");
  frame.body.append(grid);
  const items: Tile[] = [];
  const keys = keyed(grid, context);
  let mark = first;

  function paint(): void {
    const theme = context.theme;
    frame.update(mark, mark.limits, theme);
    const [count = 0, height = 1, width = 1] = mark.images.shape;
    const enlarged = mark.size * devicePixelRatio >= width;
    grid.style.setProperty("--tile", `${mark.size}px`);
    grid.style.setProperty("--ratio", `${width} / ${height}`);
    grid.style.setProperty("--columns", String(mark.columns ?? 0));
    grid.classList.toggle("fixed", mark.columns !== null);
    grid.classList.toggle("smooth", !enlarged);
    grid.setAttribute("aria-label", mark.title || counted(count, "picture"));
    ensure(grid, items, count, makeTile);
    items.forEach((tile, i) => fill(tile, mark, i, theme));
    keys.set(items, items.map((_, i) => part(mark, i)));
  }

  return living(element, context, keys, paint, (next) => {
    mark = next;
  });
};

function makeTile(): Tile {
  const tile = make("div", "tile") as Tile;
  const frame = make("div", "tile-frame");
  tile.canvas = make("canvas", "pixels");
  tile.badge = make("span", "badge");
  tile.box = make("span", "box");
  tile.label = make("span", "tile-label");
  tile.note = make("span", "tile-note");
  frame.append(tile.canvas, tile.box, tile.badge);
  tile.append(frame, tile.label, tile.note);
  return tile;
}

function fill(tile: Tile, mark: Tiles, i: number, theme: "light" | "dark"): void {
  paintImage(tile.canvas, row(mark.images, i), mark.limits, theme);
  tile.classList.toggle("faded", Boolean(mark.faded?.data[i]));
  for (const [part, text] of [[tile.badge, mark.badges[i]], [tile.label, mark.labels[i]], [tile.note, mark.notes[i]]] as const) {
    setText(part, text ?? "");
    part.hidden = !text;
  }
  const box = mark.boxes[i];
  tile.box.hidden = !box || !box.width || !box.height;
  if (box) {
    const [, height = 1, width = 1] = mark.images.shape;
    tile.box.style.left = `${(box.x / width) * 100}%`;
    tile.box.style.top = `${(box.y / height) * 100}%`;
    tile.box.style.width = `${(box.width / width) * 100}%`;
    tile.box.style.height = `${(box.height / height) * 100}%`;
  }
}

function part(mark: Tiles, i: number): Part {
  const key = mark.keys[i];
  return {
    keys: key ? [key] : [],
    describe(at) {
      const name = [mark.labels[i], mark.notes[i], mark.badges[i]].filter(Boolean).join(" · ") || `picture ${i + 1}`;
      return [name, at ? valueAt(row(mark.images, i), at, mark.limits?.unit ?? "") : range(row(mark.images, i))];
    },
  };
}

/** The number under the pointer, with its place. */
export function valueAt(image: NdArray, at: { x: number; y: number }, unit: string): string {
  const [height = 1, width = 1, channels] = image.shape;
  const x = Math.min(width - 1, Math.floor(at.x * width));
  const y = Math.min(height - 1, Math.floor(at.y * height));
  if (channels !== undefined) {
    const colour = Array.from(image.data.subarray((y * width + x) * channels, (y * width + x + 1) * channels));
    return `row ${y}, column ${x}: ${colour.map((part) => format(part)).join(", ")}`;
  }
  return `row ${y}, column ${x}: ${format(image.data[y * width + x])}${unit ? ` ${unit}` : ""}`;
}

function range(image: NdArray): string {
  if (image.shape.length !== 2) return "";
  let low = Infinity;
  let high = -Infinity;
  for (const value of image.data) {
    if (value < low) low = value;
    if (value > high) high = value;
  }
  return low <= high ? `from ${format(low)} to ${format(high)}` : "no numbers";
}

export function height(mark: Tiles, width: number, factor: number): number {
  const [count = 0, rows = 1, columns = 1] = mark.images.shape;
  const wanted = Math.round(mark.size * Math.max(LEAST.scale, factor));
  // A few pixels less than there are: a scroll bar may come between.
  const across = mark.columns ?? Math.max(1, Math.floor((width - 8) / (wanted + 4)));
  const side = Math.min(wanted, (width - 4 * (across - 1)) / across);
  const tall = (side * rows) / columns + (mark.labels.length ? LABEL : 0) + (mark.notes.length ? LABEL : 0) + 5;
  return Math.ceil(count / across) * tall;
}

export function scaled(mark: Tiles, factor: number): Tiles {
  return { ...mark, size: Math.round(mark.size * Math.max(LEAST.scale, factor)) };
}
