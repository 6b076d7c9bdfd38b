// One picture in its own pixels, perhaps with heat over a grey version of it, a contour of the heat, and boxes.

import { colourBytes, colourNumbers, lut, place, type Theme } from "../colour.ts";
import type { Box, Image, Limits, NdArray } from "../types.ts";
import { context2d, paintImage } from "./cells.ts";
import { outline } from "./contour.ts";
import type { Pixel } from "./context.ts";
import { crosshair, tellPixel } from "./crosshair.ts";
import { make, setText, svg } from "./elements.ts";
import { LEAST, type Draw } from "./half.ts";
import { head } from "./head.ts";
import { keyed, living, type Part } from "./keyed.ts";
import { placeOn } from "./place.ts";
import { valueAt } from "./tiles.ts";

/** A letter of a title is so wide. */
const LETTER = 7.2;

export const draw: Draw<Image> = (element, first, context) => {
  const frame = head(element, "image", context);
  const holder = make("div", "image");
  holder.setAttribute("role", "group");
  const plate = make("div", "image-plate");
  const pixels = make("canvas", "pixels");
  const heat = make("canvas", "heat");
  const lines = svg("svg", { class: "contour", preserveAspectRatio: "none" });
  const path = svg("path");
  const boxes = make("div", "boxes");
  const label = make("span", "image-label");
  const apart = make("button", "link", "");
  apart.type = "button";
  lines.append(path);
  plate.append(pixels, heat, lines, boxes);
  holder.append(plate, label, apart);
  frame.body.append(holder);
  const keys = keyed(holder, context, { role: "button" });
  let mark = first;
  let separate = false;
  apart.addEventListener("click", () => {
    separate = !separate;
    paint();
  });

  const place = placeOn(plate, pixels, context);
  const cross = crosshair(plate);
  const stop = new AbortController();
  const listen = { signal: stop.signal };
  let pointed: Pixel | null = null;
  const tell = (next: Pixel | null): void => {
    if (next?.row === pointed?.row && next?.column === pointed?.column) return;
    pointed = next;
    tellPixel(element, next);
  };
  plate.addEventListener("pointermove", (event) => tell(pixelUnder(event, [pixels, heat], mark)), listen);
  plate.addEventListener("pointerleave", () => tell(null), listen);

  function paint(): void {
    const theme = context.theme;
    const [height = 1, width = 1] = mark.pixels.shape;
    frame.update(mark, mark.heat ? mark.heat_limits : mark.limits, theme);
    plate.style.setProperty("--wide", `${mark.size}px`);
    plate.style.setProperty("--ratio", `${width} / ${height}`);
    plate.classList.toggle("apart", separate && mark.heat !== null);
    pixels.classList.toggle("smooth", mark.size * devicePixelRatio < width);
    if (mark.heat && !separate) paintGrey(pixels, mark, theme);
    else paintImage(pixels, mark.pixels, mark.limits, theme);
    paintHeat();
    setText(label, mark.label);
    label.hidden = !mark.label;
    apart.hidden = !mark.heat;
    setText(apart, separate ? "show together" : "show apart");
    placeBoxes(boxes, mark.boxes, width, height);
    place.update(mark.handle, height, width);
    keys.set([plate, ...boxes.children] as HTMLElement[], [part(mark), ...mark.boxes.map(boxPart)]);
  }

  function paintHeat(): void {
    heat.hidden = !mark.heat;
    lines.toggleAttribute("hidden", mark.contour === null || !mark.heat);
    if (!mark.heat) return;
    const limits = mark.heat_limits ?? { low: -1, high: 1, scale: "diverging", nan: 0, infinite: 0, clipped: 0, unit: "" };
    if (separate) paintImage(heat, mark.heat, limits, context.theme);
    else paintOver(heat, mark.heat, limits, context.theme);
    if (mark.contour === null) return;
    const [height = 1, width = 1] = mark.heat.shape;
    const reach = Math.max(Math.abs(limits.low), Math.abs(limits.high));
    lines.setAttribute("viewBox", `0 0 ${width} ${height}`);
    path.setAttribute("d", outline(mark.heat, mark.contour * reach));
  }

  const drawn = living<Image>(element, context, keys, paint, (next) => {
    mark = next;
  });
  return {
    ...drawn,
    point(at) {
      const [height, width] = mark.pixels.shape;
      if (!at || separate || at.height !== height || at.width !== width) cross.hide();
      else cross.show(at, told(mark, at));
    },
    destroy() {
      stop.abort();
      place.destroy();
      drawn.destroy();
    },
  };
};

/** The pixel under the pointer, on whichever of the canvases it is. */
function pixelUnder(event: PointerEvent, canvases: readonly HTMLElement[], mark: Image): Pixel | null {
  const [height = 1, width = 1] = mark.pixels.shape;
  for (const canvas of canvases) {
    const box = canvas.getBoundingClientRect();
    const [x, y] = [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
    if (x >= 0 && x < 1 && y >= 0 && y < 1) return { row: Math.floor(y * height), column: Math.floor(x * width), height, width };
  }
  return null;
}

/** What is told at a pixel: the heat's number where there is heat, else what it is painted for, else the picture's own numbers. */
function told(mark: Image, at: Pixel): string {
  const under = { x: (at.column + 0.5) / at.width, y: (at.row + 0.5) / at.height };
  const line = mark.heat ? valueAt(mark.heat, under, mark.heat_limits?.unit ?? "") : pixelAt(mark, under);
  return line.slice(line.indexOf(": ") + 2);
}

/** The place under the pointer, and what is painted there: its name, or its numbers. */
export function pixelAt(mark: Image, at: { x: number; y: number }): string {
  if (!mark.meant) return valueAt(mark.pixels, at, mark.limits?.unit ?? "");
  const [height = 1, width = 1] = mark.meant.shape;
  const [y, x] = [Math.min(height - 1, Math.floor(at.y * height)), Math.min(width - 1, Math.floor(at.x * width))];
  return `row ${y}, column ${x}: ${mark.names[Number(mark.meant.data[y * width + x])] ?? "nothing"}`;
}

function part(mark: Image): Part {
  const key = mark.key || mark.place_key;
  const base: Part = {
    keys: key ? [key] : [],
    describe(at) {
      const name = mark.label || mark.title || "picture";
      if (!at) return [name, `${mark.pixels.shape[1]} by ${mark.pixels.shape[0]} pixels`];
      return [name, pixelAt(mark, at), mark.heat ? `heat ${valueAt(mark.heat, at, mark.heat_limits?.unit ?? "").split(": ")[1]}` : ""];
    },
  };
  if (mark.patches) return patched(base, mark.patches, mark.patch_keys);
  if (!mark.place_key) return base;
  const [height = 1, width = 1] = mark.pixels.shape;
  const bare = mark.place_key.split("@")[0];
  return { ...base, choose: (at) => [`${bare}@${Math.floor(at.y * height)},${Math.floor(at.x * width)}`] };
}

/** A picture whose patches are chosen one by one; without a place, by keyboard, the whole picture's own key is. */
function patched(base: Part, [rows, columns]: readonly [number, number], keys: readonly string[]): Part {
  const under = (at: { x: number; y: number }): string => keys[Math.floor(at.y * rows) * columns + Math.floor(at.x * columns)] ?? "";
  const first = keys[0] ?? "";
  return {
    ...base,
    keys: base.keys.length ? base.keys : first ? [first] : [],
    choose: (at) => [under(at)].filter(Boolean),
    rests: (at) => under(at) || null,
  };
}

function boxPart(box: Box): Part {
  return { keys: box.key ? [box.key] : [], describe: () => [box.label || "box", `${box.width} by ${box.height} pixels`] };
}

function placeBoxes(holder: HTMLElement, boxes: readonly Box[], width: number, height: number): void {
  while (holder.children.length > boxes.length) holder.lastElementChild?.remove();
  while (holder.children.length < boxes.length) holder.append(make("div", "box"));
  boxes.forEach((box, i) => {
    const item = holder.children[i] as HTMLElement;
    // Several boxes on one picture are told apart by their line and by their name; a single one is named on hover.
    item.dataset.label = boxes.length > 1 ? box.label : "";
    item.style.left = `${(box.x / width) * 100}%`;
    item.style.top = `${(box.y / height) * 100}%`;
    item.style.width = `${(box.width / width) * 100}%`;
    item.style.height = `${(box.height / height) * 100}%`;
  });
}

/** The image without its colours, towards the paper, so that the heat is all that has colour. */
function paintGrey(canvas: HTMLCanvasElement, mark: Image, theme: Theme): void {
  const [height = 0, width = 0] = mark.pixels.shape;
  canvas.width = width;
  canvas.height = height;
  if (!width || !height) return;
  const sheet = new ImageData(width, height);
  const pixels = new Uint32Array(sheet.data.buffer);
  if (mark.pixels.shape.length === 3) colourBytes(mark.pixels, pixels);
  else colourNumbers(mark.pixels.data, { ...(mark.limits ?? byteLimits), scale: "grey" }, theme, pixels);
  const bytes = sheet.data;
  for (let i = 0; i < bytes.length; i += 4) {
    const light = 0.2126 * (bytes[i] ?? 0) + 0.7152 * (bytes[i + 1] ?? 0) + 0.0722 * (bytes[i + 2] ?? 0);
    bytes[i] = bytes[i + 1] = bytes[i + 2] = theme === "light" ? 140 + light * 0.45 : 20 + light * 0.57;
  }
  context2d(canvas).putImageData(sheet, 0, 0);
}

const byteLimits: Limits = { low: 0, high: 255, scale: "grey", nan: 0, infinite: 0, clipped: 0, unit: "" };

/** Heat with an opacity that follows its magnitude. */
function paintOver(canvas: HTMLCanvasElement, heat: NdArray, limits: Limits, theme: Theme): void {
  const [height = 0, width = 0] = heat.shape;
  canvas.width = width;
  canvas.height = height;
  if (!width || !height) return;
  const sheet = new ImageData(width, height);
  const pixels = new Uint32Array(sheet.data.buffer);
  // The ends of the light table are the saturated hues; over grey they read on both papers.
  const table = lut(limits.scale, limits.scale === "diverging" ? "light" : theme);
  const reach = Math.max(Math.abs(limits.low), Math.abs(limits.high)) || 1;
  for (let i = 0; i < pixels.length; i++) {
    const value = heat.data[i] ?? 0;
    if (!Number.isFinite(value)) continue;
    const share = Math.min(1, Math.abs(value) / reach);
    const hue = limits.scale === "diverging" ? Math.sign(value) * limits.high : value;
    const colour = table[place(hue, limits, table.length)] ?? 0;
    pixels[i] = ((colour & 0xffffff) | (Math.round(share * 235) << 24)) >>> 0;
  }
  context2d(canvas).putImageData(sheet, 0, 0);
}

export function height(mark: Image, width: number, factor: number): number {
  const [rows = 1, columns = 1] = mark.pixels.shape;
  const apart = mark.heat ? 17 : 0;
  const second = mark.title && (mark.heat || (mark.limits && mark.limits.scale !== "grey")) ? 17 : 0;
  const told = mark.caption ? 16 * (Math.ceil((mark.caption.length * 5.7) / width) - 1) : 0;
  const tall = (Math.min(width, mark.size * Math.max(LEAST.scale, factor)) * rows) / columns;
  return tall + (mark.label ? 18 : 0) + apart + second + told + 19 * (titleLines(mark.title, Math.max(width, LEAST.picture)) - 1);
}

/** So many lines a title takes at a width, near enough to keep its room free. */
export function titleLines(title: string, width: number): number {
  return Math.max(1, Math.ceil((title.length * LETTER) / width));
}

/** The style sheet gives pictures at least so much that their titles can be read. */
export function width(mark: Image, factor: number): number {
  return Math.max(LEAST.picture, Math.round(mark.size * Math.max(LEAST.scale, factor)));
}

export function scaled(mark: Image, factor: number): Image {
  return { ...mark, size: Math.round(mark.size * Math.max(LEAST.scale, factor)) };
}
