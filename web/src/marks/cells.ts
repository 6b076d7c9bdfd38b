// Small pictures on canvases: nearest neighbour, NaN hatched, infinity magenta, clipped cells with a notch.

import { CLIPPED, NAN, colourBytes, colourNumbers, specials, type Theme } from "../colour.ts";
import { NAN_INK, type Limits, type NdArray } from "../types.ts";

const FINEST = 6; // canvas pixels that a hatched or notched cell gets at least
const contexts = new WeakMap<HTMLCanvasElement, CanvasRenderingContext2D>();
const sheets = new WeakMap<HTMLCanvasElement, ImageData>();
const scratch: { canvas?: HTMLCanvasElement } = {};

/** The canvas's context; kept in main memory, because most canvases here are written often and read by the screen only. */
export function context2d(canvas: HTMLCanvasElement): CanvasRenderingContext2D {
  let found = contexts.get(canvas);
  if (!found) {
    found = canvas.getContext("2d", { willReadFrequently: true }) as CanvasRenderingContext2D;
    contexts.set(canvas, found);
  }
  return found;
}

/** Draw an image (numbers through limits, or colours of its own) in its own pixels; the style sheet enlarges it. */
export function paintImage(canvas: HTMLCanvasElement, image: NdArray, limits: Limits | null, theme: Theme): void {
  const [height = 0, width = 0] = image.shape;
  const odd = limits && image.shape.length === 2 ? specials(image.data, limits) : null;
  if (!odd || !limits) {
    resize(canvas, width, height);
    if (width && height) context2d(canvas).putImageData(colours(canvas, image, limits, theme), 0, 0);
    return;
  }
  const scale = Math.max(FINEST, Math.ceil(96 / Math.max(width, 1)));
  resize(canvas, width * scale, height * scale);
  const pen = context2d(canvas);
  pen.clearRect(0, 0, canvas.width, canvas.height);
  drawScaled(pen, image, limits, theme, 0, 0, canvas.width, canvas.height);
  drawSpecials(pen, odd, width, (column) => column * scale, (row) => row * scale, scale, scale, theme);
}

/** Draw numbers, enlarged without smoothing, onto a part of another canvas. */
export function drawScaled(
  pen: CanvasRenderingContext2D, image: NdArray, limits: Limits | null, theme: Theme, x: number, y: number, width: number, height: number,
): void {
  const canvas = (scratch.canvas ??= document.createElement("canvas"));
  resize(canvas, image.shape[1] ?? 0, image.shape[0] ?? 0);
  if (!canvas.width || !canvas.height) return;
  context2d(canvas).putImageData(colours(canvas, image, limits, theme), 0, 0);
  pen.imageSmoothingEnabled = false;
  pen.drawImage(canvas, x, y, width, height);
}

/** Hatch NaN cells and notch clipped ones. */
export function drawSpecials(
  pen: CanvasRenderingContext2D, odd: Uint8Array, columns: number,
  left: (column: number) => number, top: (row: number) => number, width: number, height: number, theme: Theme,
): void {
  pen.save();
  const notch = Math.max(2, Math.min(width, height) * 0.34);
  for (let i = 0; i < odd.length; i++) {
    if (!odd[i]) continue;
    const x = left(i % columns);
    const y = top(Math.floor(i / columns));
    if (odd[i] === NAN) hatch(pen, x, y, width, height);
    if (odd[i] === CLIPPED) {
      pen.fillStyle = theme === "dark" ? "#e8e6e1" : "#1c1d20";
      pen.beginPath();
      pen.moveTo(x + width - notch, y);
      pen.lineTo(x + width, y);
      pen.lineTo(x + width, y + notch);
      pen.fill();
    }
  }
  pen.restore();
}

/** Diagonal strokes: there is no number here. */
export function hatch(pen: CanvasRenderingContext2D, x: number, y: number, width: number, height: number): void {
  pen.save();
  pen.beginPath();
  pen.rect(x, y, width, height);
  pen.clip();
  pen.strokeStyle = NAN_INK;
  const gap = Math.max(3, Math.min(6, width / 2));
  pen.lineWidth = Math.max(1, gap / 4);
  pen.beginPath();
  for (let at = x - height - ((x - height) % gap); at < x + width; at += gap) {
    pen.moveTo(at, y + height);
    pen.lineTo(at + height, y);
  }
  pen.stroke();
  pen.restore();
}

function colours(canvas: HTMLCanvasElement, image: NdArray, limits: Limits | null, theme: Theme): ImageData {
  let sheet = sheets.get(canvas);
  if (!sheet || sheet.width !== canvas.width || sheet.height !== canvas.height) {
    sheet = new ImageData(canvas.width, canvas.height);
    sheets.set(canvas, sheet);
  }
  const pixels = new Uint32Array(sheet.data.buffer);
  if (image.shape.length === 3) colourBytes(image, pixels);
  else colourNumbers(image.data, limits ?? { low: 0, high: 255, scale: "grey", nan: 0, infinite: 0, clipped: 0, unit: "" }, theme, pixels);
  return sheet;
}

function resize(canvas: HTMLCanvasElement, width: number, height: number): void {
  if (canvas.width !== width) canvas.width = width;
  if (canvas.height !== height) canvas.height = height;
}
