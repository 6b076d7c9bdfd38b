// Numbers to colours: the tables come from Python, so that page, notebook and exported figures agree.

import { CLASSES, DIVERGING_DARK, DIVERGING_LIGHT, INFINITE, NAN_INK, PAPERS, VIRIDIS, type Limits, type NdArray } from "./types.ts";

export type Theme = "light" | "dark";
export type Rgb = readonly [number, number, number];

/** A colour table, packed as the canvas wants it: alpha, blue, green, red from the highest byte. */
export type Lut = Uint32Array;

const made = new Map<string, Lut>();

/** The colour table of a scale on a theme's paper. */
export function lut(scale: Limits["scale"], theme: Theme): Lut {
  const name = scale === "diverging" ? `diverging-${theme}` : scale;
  let table = made.get(name);
  if (!table) {
    table = scale === "diverging" ? parse(theme === "dark" ? DIVERGING_DARK : DIVERGING_LIGHT) : scale === "grey" ? grey() : parse(VIRIDIS);
    made.set(name, table);
  }
  return table;
}

function parse(hex: string): Lut {
  const table = new Uint32Array(hex.length / 6);
  for (let i = 0; i < table.length; i++) {
    const part = hex.slice(i * 6, i * 6 + 6);
    table[i] = pack(rgb(`#${part}`));
  }
  return table;
}

function grey(): Lut {
  return Uint32Array.from({ length: 256 }, (_, i) => pack([i, i, i]));
}

/** Pack a colour for a canvas's 32-bit pixels. */
export function pack([r, g, b]: Rgb, alpha = 255): number {
  return ((alpha << 24) | (b << 16) | (g << 8) | r) >>> 0;
}

/** A '#rrggbb' colour as three bytes. */
export function rgb(colour: string): Rgb {
  const n = parseInt(colour.slice(1), 16);
  return [(n >> 16) & 255, (n >> 8) & 255, n & 255];
}

/** The colour of a class, the same in every view. */
export function classColour(index: number): string {
  const count = CLASSES.length;
  return CLASSES[((Math.trunc(index) % count) + count) % count] ?? "#717581";
}

/** Where a value falls in a table. Callers treat NaN and infinities themselves. */
export function place(value: number, limits: Limits, size: number): number {
  const share = (value - limits.low) / (limits.high - limits.low);
  return Math.max(0, Math.min(size - 1, Math.round(share * (size - 1))));
}

/** One value's colour as CSS. */
export function css(value: number, limits: Limits, theme: Theme): string {
  if (Number.isNaN(value)) return NAN_INK;
  if (!Number.isFinite(value)) return INFINITE;
  const table = lut(limits.scale, theme);
  return unpack(table[place(value, limits, table.length)] ?? 0);
}

/** A packed colour as CSS. */
export function unpack(packed: number): string {
  return `rgb(${packed & 255} ${(packed >> 8) & 255} ${(packed >> 16) & 255})`;
}

/** Whether dark text reads better than light text on a colour made by `css`. */
export function wantsDarkText(colour: string): boolean {
  const [r = 0, g = 0, b = 0] = colour.startsWith("#") ? rgb(colour) : (colour.match(/\d+/g) ?? []).map(Number);
  return luminance([r, g, b]) > 0.18;
}

const INFINITE_PIXEL = pack(rgb(INFINITE));

/** What a cell is, besides its colour. */
export const PLAIN = 0;
export const NAN = 1;
export const CLIPPED = 2;

/** Which cells need more than a colour: NaN a hatch, clipped values a notch. Null when none does, the usual case. */
export function specials(values: ArrayLike<number>, limits: Limits): Uint8Array | null {
  if (!limits.nan && !limits.clipped && !limits.infinite) return null;
  const slack = 1e-6 * Math.max(Math.abs(limits.low), Math.abs(limits.high), 1e-30);
  const found = new Uint8Array(values.length);
  let any = false;
  for (let i = 0; i < values.length; i++) {
    const value = values[i] ?? 0;
    if (Number.isNaN(value)) found[i] = NAN;
    else if (Number.isFinite(value) && (value < limits.low - slack || value > limits.high + slack)) found[i] = CLIPPED;
    any ||= found[i] !== PLAIN;
  }
  return any ? found : null;
}

/** Colour numbers through limits into 32-bit pixels; NaN is left transparent for its hatch. */
export function colourNumbers(values: ArrayLike<number>, limits: Limits, theme: Theme, pixels: Uint32Array): void {
  const table = lut(limits.scale, theme);
  const last = table.length - 1;
  const factor = last / (limits.high - limits.low);
  for (let i = 0; i < pixels.length; i++) {
    const value = values[i] as number;
    const at = (value - limits.low) * factor + 0.5;
    if (at >= 0 && at <= last + 0.5) pixels[i] = table[at | 0] as number;
    else if (Number.isNaN(value)) pixels[i] = 0;
    else if (!Number.isFinite(value)) pixels[i] = INFINITE_PIXEL;
    else pixels[i] = at < 0 ? (table[0] as number) : (table[last] as number);
  }
}

/** Copy an array with colours of its own (bytes, or floats from 0 to 1; 3 or 4 channels) into 32-bit pixels. */
export function colourBytes(image: NdArray, pixels: Uint32Array): void {
  const channels = image.shape[2] ?? 3;
  const scale = image.dtype === "u1" ? 1 : 255;
  const data = image.data;
  for (let i = 0, j = 0; i < pixels.length; i++, j += channels) {
    const r = byte((data[j] as number) * scale);
    const g = byte((data[j + 1] as number) * scale);
    const b = byte((data[j + 2] as number) * scale);
    const a = channels === 4 ? byte((data[j + 3] as number) * scale) : 255;
    pixels[i] = ((a << 24) | (b << 16) | (g << 8) | r) >>> 0;
  }
}

function byte(value: number): number {
  return value <= 0 ? 0 : value >= 255 ? 255 : Math.round(value);
}

const readableColours = new Map<string, string>();

/** A colour moved towards the ink until text in it has a contrast of 4.5 on the theme's paper. */
export function readable(colour: string, theme: Theme): string {
  const name = `${colour} ${theme}`;
  let found = readableColours.get(name);
  if (found) return found;
  const paper = luminance(rgb(PAPERS[theme]));
  const end = theme === "dark" ? 255 : 0;
  let parts = rgb(colour);
  for (let i = 0; i < 40 && contrast(luminance(parts), paper) < 4.5; i++) {
    const [r, g, b] = parts.map((part) => part + (end - part) * 0.06);
    parts = [r ?? 0, g ?? 0, b ?? 0];
  }
  found = `rgb(${parts.map(Math.round).join(" ")})`;
  readableColours.set(name, found);
  return found;
}

/** The relative luminance of a colour (WCAG 2). */
export function luminance(colour: Rgb): number {
  const [r = 0, g = 0, b = 0] = colour.map((part) => (part <= 10 ? part / 3294.6 : ((part / 255 + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

/** The contrast ratio of two luminances (WCAG 2). */
export function contrast(a: number, b: number): number {
  return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
}
