// Where the points of a scatter lie on the screen, which is nearest, and which a loop drawn by hand holds.

import type { NdArray, Scatter } from "../types.ts";
import { Chosen } from "./context.ts";
import { seen } from "./lens.ts";

export type Point = readonly [number, number];

/** How the square is looked at: what lies in its middle (from -1 to 1), how much is enlarged, and from where space is seen. */
export interface Look {
  readonly x: number;
  readonly y: number;
  readonly zoom: number;
  readonly azimuth: number;
  readonly elevation: number;
  /** Where the middle of a fish-eye lens lies in the square, from 0 to 1 on either side; null without one. */
  readonly lens: Point | null;
}

/** The lens reaches so far, as a share of the square's side. */
export const LENS = 0.3;

/** The paper shows space from here, too. */
export const FIRST: Look = { x: 0, y: 0, zoom: 1, azimuth: Math.PI / 6, elevation: Math.PI / 9, lens: null };
/** A turned cube fits into the square. */
export const SMALLER = 0.577;
/** A picture's place on the grid, CSS pixels. */
export const CELL = 30;
/** A line of text's place. */
const WORDS: Point = [128, 20];
/** Keys beyond so many are told as ranges. */
const MANY = 64;

export interface Placed {
  readonly side: number;
  /** x and y of each point, CSS pixels from the corner of the square. */
  readonly at: Float32Array;
  /** How near each is to who looks, from -1 to 1; empty on a plane. */
  readonly depth: Float32Array;
}

/** Place rows of numbers: points, or the ends of lines, `stride` numbers each; once, when somebody asks where they are. */
export function placed(mark: Scatter, numbers: NdArray["data"], stride: number, look: Look, side: number): Placed {
  let found: Pick<Placed, "at" | "depth"> | null = null;
  const there = (): Pick<Placed, "at" | "depth"> => (found ??= places(mark, numbers, stride, look, side));
  return {
    side,
    get at() {
      return there().at;
    },
    get depth() {
      return there().depth;
    },
  };
}

function places(mark: Scatter, numbers: NdArray["data"], stride: number, look: Look, side: number): Pick<Placed, "at" | "depth"> {
  const count = Math.floor(numbers.length / stride);
  const at = new Float32Array(2 * count);
  const space = stride === 3;
  const depth = new Float32Array(space ? count : 0);
  const [x, y, z] = [axis(mark, 0), axis(mark, 1), axis(mark, 2)];
  const [ca, sa, ce, se] = [Math.cos(look.azimuth), Math.sin(look.azimuth), Math.cos(look.elevation), Math.sin(look.elevation)];
  const half = (side / 2) * look.zoom;
  const middle: Point | null = look.lens && [look.lens[0] * side, look.lens[1] * side];
  for (let i = 0; i < count; i++) {
    let across = (numbers[i * stride] as number) * x[0] + x[1];
    let up = (numbers[i * stride + 1] as number) * y[0] + y[1];
    if (space) {
      const far = (numbers[i * stride + 2] as number) * z[0] + z[1];
      const back = far * ca - across * sa;
      across = across * ca + far * sa;
      depth[i] = up * se + back * ce;
      up = (up * ce - back * se) * SMALLER;
      across *= SMALLER;
    }
    at[2 * i] = side / 2 + (across - look.x) * half;
    at[2 * i + 1] = side / 2 - (up - look.y) * half;
    if (middle) [at[2 * i], at[2 * i + 1]] = seen(at[2 * i] as number, at[2 * i + 1] as number, middle, LENS * side);
  }
  return { at, depth };
}

/** What turns a number of an axis into a place from -1 to 1: a factor, and what is added. */
export function axis(mark: Scatter, index: number): [number, number] {
  const [low, high] = mark.spans[index] ?? [-1, 1];
  const factor = 2 / (high > low ? high - low : 1);
  return [factor, -low * factor - 1];
}

/** The look that keeps what is under a place where it is, so much nearer; never farther than the whole. */
export function nearer(look: Look, side: number, [x, y]: Point, factor: number): Look {
  const zoom = Math.max(1, Math.min(200, look.zoom * factor));
  if (zoom === 1) return { ...look, x: 0, y: 0, zoom };
  const keep = (2 / side) * (1 / look.zoom - 1 / zoom);
  return { ...look, zoom, x: look.x + (x - side / 2) * keep, y: look.y + (side / 2 - y) * keep };
}

export function keyOf(mark: Scatter, i: number): string {
  return mark.keys[i] ?? (mark.kind ? `${mark.kind}:${i}` : "");
}

/** The point of a key; -1 for none. */
export function pointOf(mark: Scatter, key: string | null): number {
  if (key === null) return -1;
  if (mark.keys.length) return mark.keys.indexOf(key);
  const number = key.startsWith(`${mark.kind}:`) ? Number(key.slice(mark.kind.length + 1)) : NaN;
  return Number.isInteger(number) && number < (mark.points.shape[0] ?? 0) ? number : -1;
}

/** Whether a point is chosen: it, or its class. */
function isChosen(mark: Scatter, i: number, chosen: Chosen): boolean {
  if (chosen.has(keyOf(mark, i))) return true;
  const value = mark.values?.data[i];
  return mark.classes.length > 0 && value !== undefined && Number.isFinite(value as number) && chosen.has(`class:${value}`);
}

const known = new WeakMap<Scatter, Map<string, Uint8Array>>();

/** Which points are chosen by some keys; asked again for the same, it is remembered. */
export function chosenBy(mark: Scatter, keys: readonly string[]): Uint8Array {
  const name = keys.join("+");
  let found = known.get(mark)?.get(name);
  if (!found) {
    const count = mark.points.shape[0] ?? 0;
    found = new Uint8Array(count);
    const chosen = new Chosen(keys);
    for (let i = 0; keys.length && i < count; i++) found[i] = isChosen(mark, i, chosen) ? 1 : 0;
    const before = known.get(mark) ?? new Map<string, Uint8Array>();
    if (before.size >= 2) before.clear();
    known.set(mark, before.set(name, found));
  }
  return found;
}

/** What pale points are where a mark does not say: then it tells nothing of who answers to what is chosen. */
const DOUBT = "not to be trusted";

/** Whether a point steps back: the picture says so; else others are chosen, unless the picture has said who answers to these. */
export function stepsBack(mark: Scatter, i: number, marked: Uint8Array, some: boolean): boolean {
  if (mark.faded?.data[i]) return true;
  return some && !marked[i] && !(mark.faded && mark.pale && mark.pale !== DOUBT);
}

/** The point nearest to a place, within a reach; -1 for none. */
export function nearestTo({ at, side }: Placed, [x, y]: Point, reach: number): number {
  let best = -1;
  let least = reach ** 2;
  for (let i = 0, j = 0; j < at.length; i++, j += 2) {
    const [px, py] = [at[j] as number, at[j + 1] as number];
    const away = (px - x) ** 2 + (py - y) ** 2;
    if (away < least && px >= 0 && py >= 0 && px <= side && py <= side) [least, best] = [away, i];
  }
  return best;
}

/** The nearest point in a direction. */
export function towards({ at, side }: Placed, from: number, dx: number, dy: number): number {
  const [x, y] = [at[2 * from] as number, at[2 * from + 1] as number];
  let best = from;
  let least = Infinity;
  for (let i = 0, j = 0; j < at.length; i++, j += 2) {
    const [px, py] = [at[j] as number, at[j + 1] as number];
    const along = (px - x) * dx + (py - y) * dy;
    const aside = Math.abs((px - x) * dy) + Math.abs((py - y) * dx);
    if (along > 0.5 && along + 2 * aside < least && px >= 0 && py >= 0 && px <= side && py <= side) [least, best] = [along + 2 * aside, i];
  }
  return best;
}

/** The points within a loop. */
export function within({ at }: Placed, loop: readonly Point[]): number[] {
  const xs = loop.map(([x]) => x);
  const ys = loop.map(([, y]) => y);
  const [left, right, top, foot] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
  const found: number[] = [];
  for (let i = 0, j = 0; j < at.length; i++, j += 2) {
    const [x, y] = [at[j] as number, at[j + 1] as number];
    if (!(x >= left && x <= right && y >= top && y <= foot)) continue;
    let inside = false;
    for (let a = 0, b = loop.length - 1; a < loop.length; b = a++) {
      const [[ax, ay], [bx, by]] = [loop[a] as Point, loop[b] as Point];
      if (ay > y !== by > y && x < ((bx - ax) * (y - ay)) / (by - ay) + ax) inside = !inside;
    }
    if (inside) found.push(i);
  }
  return found;
}

/** The keys of points; where there are many, numbers in a row as ranges. */
export function keysOf(mark: Scatter, points: readonly number[]): string[] {
  const keys = points.map((i) => keyOf(mark, i)).filter(Boolean);
  const told = keys.map((key) => /^(example|class|step):(\d+)$/.exec(key));
  if (keys.length <= MANY || told.some((one) => !one)) return keys;
  const kind = told[0]?.[1] ?? "";
  const numbers = told.map((one) => Number(one?.[2])).sort((a, b) => a - b);
  const found: string[] = [];
  for (let i = 0; i < numbers.length; ) {
    let end = i;
    while (end + 1 < numbers.length && numbers[end + 1] === (numbers[end] as number) + 1) end++;
    found.push(end > i ? `${kind}:${numbers[i]}-${numbers[end]}` : `${kind}:${numbers[i]}`);
    i = end + 1;
  }
  return found;
}

/** How wide and high a place of the grid is: for a picture, or for a line of text where there are no pictures. */
export function cellOf(mark: { readonly pictures: unknown }): Point {
  return mark.pictures ? [CELL, CELL] : WORDS;
}

/** In each place of a grid the point nearest to its middle, with the place's corner: no picture lies on another. */
export function onGrid({ at, side }: Placed, [wide, high]: Point = [CELL, CELL]): Map<number, Point> {
  const most = Math.max(1, Math.floor(side / wide));
  const rows = Math.max(1, Math.floor(side / high));
  const best = new Map<number, [number, number]>();
  for (let i = 0, j = 0; j < at.length; i++, j += 2) {
    const [x, y] = [at[j] as number, at[j + 1] as number];
    if (!(x >= 0 && y >= 0 && x <= side && y <= side)) continue;
    const [column, row] = [Math.min(most - 1, Math.floor(x / wide)), Math.min(rows - 1, Math.floor(y / high))];
    const away = Math.hypot(x - (column + 0.5) * wide, y - (row + 0.5) * high);
    const before = best.get(row * most + column);
    if (!before || away < before[0]) best.set(row * most + column, [away, i]);
  }
  return new Map([...best].map(([cell, [, i]]) => [i, [(cell % most) * wide, Math.floor(cell / most) * high]]));
}

/** Whether a point belongs to the fixed part, one in so many, that is drawn while it moves: as if drawn by lot, always the same. */
export function inPart(i: number, one: number): boolean {
  return (Math.imul(i + 1, 0x9e3779b1) >>> 8) % one === 0;
}
