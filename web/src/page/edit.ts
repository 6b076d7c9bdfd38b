/** Painting on an input in its own pixels: brushes, moves and warps as plain arithmetic, so that they can be tested alone. */

/** Pixels of 0 to 255, row by row, one or three numbers each; never changed once made. */
export interface Pixels {
  readonly width: number;
  readonly height: number;
  readonly channels: 1 | 3;
  readonly data: Float32Array;
}

export interface Place {
  readonly x: number;
  readonly y: number;
}

/** A handle of a warp: what lay at `from` is pulled to `to`; one that is not moved holds its place. */
export interface Pull {
  readonly from: Place;
  readonly to: Place;
}

/** What is done to all pixels at once, and can still be changed: nothing adds up while a slider is moved. */
export interface Change {
  readonly right: number;
  readonly down: number;
  /** Clockwise, in degrees. */
  readonly turn: number;
  /** −1 to 1. */
  readonly brightness: number;
  /** −1 to 1: a third to three times the contrast. */
  readonly contrast: number;
  readonly pulls: readonly Pull[];
  /** How far a pull reaches, in pixels. */
  readonly reach: number;
}

export const NOTHING: Change = { right: 0, down: 0, turn: 0, brightness: 0, contrast: 0, pulls: [], reach: 4 };

/** The colour that the picture's border has most: what an eraser leaves, and what comes in from outside. */
export function groundOf(pixels: Pixels): number[] {
  const { width, height, channels, data } = pixels;
  return Array.from({ length: channels }, (_, channel) => {
    const border: number[] = [];
    for (let y = 0; y < height; y++)
      for (let x = 0; x < width; x++)
        if (x === 0 || y === 0 || x === width - 1 || y === height - 1) border.push(data[(y * width + x) * channels + channel]!);
    border.sort((one, two) => one - two);
    return border[border.length >> 1] ?? 0;
  });
}

/** How much of each pixel a round brush covers on its way; the most of all its touches, so that strokes have even edges. */
export class Stroke {
  readonly cover: Float32Array;
  private readonly width: number;
  private readonly height: number;
  private last: Place | null = null;

  constructor(of: Pixels) {
    this.width = of.width;
    this.height = of.height;
    this.cover = new Float32Array(of.width * of.height);
  }

  to(place: Place, radius: number): void {
    for (const at of steps(this.last ?? place, place, Math.max(0.25, radius / 3))) {
      const [left, right] = span(at.x, radius, this.width);
      const [top, bottom] = span(at.y, radius, this.height);
      for (let y = top; y <= bottom; y++)
        for (let x = left; x <= right; x++) {
          const share = disc(x + 0.5 - at.x, y + 0.5 - at.y, radius);
          const i = y * this.width + x;
          if (share > this.cover[i]!) this.cover[i] = share;
        }
    }
    this.last = place;
  }
}

/** Lay a colour, or another picture of the same size, over what a stroke covers. */
export function laid(pixels: Pixels, stroke: Stroke, ink: readonly number[] | Pixels): Pixels {
  const { channels } = pixels;
  const data = pixels.data.slice();
  const other = "data" in ink ? ink.data : null;
  stroke.cover.forEach((share, i) => {
    if (!share) return;
    for (let c = 0; c < channels; c++) {
      const at = i * channels + c;
      const to = other ? other[at]! : (ink as readonly number[])[c]!;
      data[at] = data[at]! + (to - data[at]!) * share;
    }
  });
  return { ...pixels, data };
}

/** A finger on wet paint: what lies under it is taken along, and wears off. */
export class Smear {
  private pixels: Pixels;
  private readonly radius: number;
  private readonly strength: number;
  private taken: Float32Array | null = null;
  private last: Place;

  constructor(pixels: Pixels, start: Place, radius: number, strength = 0.75) {
    this.pixels = { ...pixels, data: pixels.data.slice() };
    this.radius = Math.max(1, radius);
    this.strength = strength;
    this.last = start;
  }

  to(place: Place): Pixels {
    for (const at of steps(this.last, place, 0.5)) this.touch(at);
    this.last = place;
    return { ...this.pixels, data: this.pixels.data.slice() };
  }

  private touch(at: Place): void {
    const { width, height, channels, data } = this.pixels;
    const reach = Math.ceil(this.radius);
    const side = 2 * reach + 1;
    const fresh = this.taken === null;
    this.taken ??= new Float32Array(side * side * channels);
    const [column, row] = [Math.round(at.x - 0.5), Math.round(at.y - 0.5)];
    for (let dy = -reach; dy <= reach; dy++)
      for (let dx = -reach; dx <= reach; dx++) {
        const share = disc(dx, dy, this.radius) * this.strength;
        const [x, y] = [clamp(column + dx, width - 1), clamp(row + dy, height - 1)];
        for (let c = 0; c < channels; c++) {
          const held = ((dy + reach) * side + dx + reach) * channels + c;
          const i = (y * width + x) * channels + c;
          if (fresh) this.taken[held] = data[i]!;
          else if (x === column + dx && y === row + dy) {
            data[i] = data[i]! + (this.taken[held]! - data[i]!) * share;
            this.taken[held] = this.taken[held]! * this.strength + data[i]! * (1 - this.strength);
          }
        }
      }
  }
}

/** A rectangle of another picture laid over this one, its middle at a place. */
export function pasted(pixels: Pixels, source: Pixels, cut: { x: number; y: number; width: number; height: number }, middle: Place): Pixels {
  const { width, height, channels } = pixels;
  const data = pixels.data.slice();
  const [left, top] = [Math.round(middle.x - cut.width / 2), Math.round(middle.y - cut.height / 2)];
  for (let y = 0; y < cut.height; y++)
    for (let x = 0; x < cut.width; x++) {
      const [tx, ty, sx, sy] = [left + x, top + y, cut.x + x, cut.y + y];
      if (tx < 0 || ty < 0 || tx >= width || ty >= height || sx < 0 || sy < 0 || sx >= source.width || sy >= source.height) continue;
      for (let c = 0; c < channels; c++) data[(ty * width + tx) * channels + c] = source.data[(sy * source.width + sx) * channels + c]!;
    }
  return { ...pixels, data };
}

/** The picture moved, turned, warped and lit; what comes in from outside is the ground. */
export function changed(pixels: Pixels, change: Change, ground: readonly number[]): Pixels {
  return lit(moved(pixels, change, ground), change);
}

export function isNothing(change: Change): boolean {
  const { right, down, turn, brightness, contrast, pulls } = change;
  return !right && !down && !turn && !brightness && !contrast && !pulls.some(({ from, to }) => from.x !== to.x || from.y !== to.y);
}

function moved(pixels: Pixels, change: Change, ground: readonly number[]): Pixels {
  const { width, height, channels } = pixels;
  const back = warpBack(change.pulls, change.reach);
  if (!change.right && !change.down && !change.turn && !back) return pixels;
  const data = new Float32Array(pixels.data.length);
  const [middleX, middleY] = [width / 2, height / 2];
  const angle = (-change.turn * Math.PI) / 180;
  const [cos, sin] = [Math.cos(angle), Math.sin(angle)];
  for (let y = 0; y < height; y++)
    for (let x = 0; x < width; x++) {
      let at: Place = { x: x + 0.5, y: y + 0.5 };
      if (back) at = back(at);
      const [dx, dy] = [at.x - middleX - change.right, at.y - middleY - change.down];
      sample(pixels, middleX + cos * dx - sin * dy - 0.5, middleY + sin * dx + cos * dy - 0.5, ground, data, (y * width + x) * channels);
    }
  return { ...pixels, data };
}

/** Between four pixels, in proportion; beyond the border lies the ground. */
function sample(pixels: Pixels, x: number, y: number, ground: readonly number[], into: Float32Array, at: number): void {
  const { width, height, channels, data } = pixels;
  const [left, top] = [Math.floor(x + 1e-7), Math.floor(y + 1e-7)];
  const [fx, fy] = [Math.max(0, x - left), Math.max(0, y - top)];
  for (let c = 0; c < channels; c++) {
    const read = (column: number, row: number): number =>
      column < 0 || row < 0 || column >= width || row >= height ? ground[c]! : data[(row * width + column) * channels + c]!;
    const upper = read(left, top) + (fx > 1e-6 ? (read(left + 1, top) - read(left, top)) * fx : 0);
    if (fy <= 1e-6) {
      into[at + c] = upper;
      continue;
    }
    const lower = read(left, top + 1) + (fx > 1e-6 ? (read(left + 1, top + 1) - read(left, top + 1)) * fx : 0);
    into[at + c] = upper + (lower - upper) * fy;
  }
}

function lit(pixels: Pixels, { brightness, contrast }: Change): Pixels {
  if (!brightness && !contrast) return pixels;
  const gain = 3 ** contrast;
  return { ...pixels, data: pixels.data.map((value) => (value - 127.5) * gain + 127.5 + brightness * 255) };
}

/**
 * Where each place of the warped picture comes from; null when nothing is pulled.
 *
 * The displacement is a sum of Gaussian hills at the pulled places whose heights are solved for, so that every handle's
 * pixel lands exactly under the handle, a handle that rests holds its place, and far away nothing moves. A hill is at
 * least so wide that one pull alone never folds the picture over.
 */
export function warpBack(pulls: readonly Pull[], reach: number): ((at: Place) => Place) | null {
  if (!pulls.some(({ from, to }) => from.x !== to.x || from.y !== to.y)) return null;
  const width = pulls.map(({ from, to }) => Math.max(reach, 0.75 * Math.hypot(to.x - from.x, to.y - from.y), 0.5));
  const hill = (i: number, at: Place): number => {
    const { to } = pulls[i]!;
    return Math.exp(-((at.x - to.x) ** 2 + (at.y - to.y) ** 2) / (2 * width[i]! ** 2));
  };
  const matrix = pulls.map(({ to }, row) => [
    ...pulls.map((_, column) => hill(column, to) + (row === column ? 1e-6 : 0)),
    pulls[row]!.from.x - to.x,
    pulls[row]!.from.y - to.y,
  ]);
  const heights = solved(matrix, pulls.length);
  return (at) => {
    let [x, y] = [at.x, at.y];
    for (let i = 0; i < pulls.length; i++) {
      const share = hill(i, at);
      if (share < 1e-5) continue;
      x += share * heights[i]![0]!;
      y += share * heights[i]![1]!;
    }
    return { x, y };
  };
}

/** Gauss and Jordan with pivots: the matrix holds the right-hand sides in its last columns. */
function solved(matrix: number[][], size: number): number[][] {
  for (let at = 0; at < size; at++) {
    let best = at;
    for (let row = at + 1; row < size; row++) if (Math.abs(matrix[row]![at]!) > Math.abs(matrix[best]![at]!)) best = row;
    [matrix[at], matrix[best]] = [matrix[best]!, matrix[at]!];
    const pivot = matrix[at]![at]! || 1e-9;
    for (let row = 0; row < size; row++) {
      if (row === at) continue;
      const share = matrix[row]![at]! / pivot;
      for (let column = at; column < matrix[row]!.length; column++) matrix[row]![column]! -= share * matrix[at]![column]!;
    }
  }
  return matrix.map((row, at) => row.slice(size).map((value) => value / (row[at] || 1e-9)));
}

/** What is sent and shown: whole numbers from 0 to 255. */
export function bytesOf(pixels: Pixels): Uint8Array {
  const bytes = new Uint8Array(pixels.data.length);
  for (let i = 0; i < bytes.length; i++) bytes[i] = Math.max(0, Math.min(255, Math.round(pixels.data[i]!)));
  return bytes;
}

/** How many pixels differ, as they are sent. */
export function countChanged(one: Uint8Array, two: Uint8Array, channels: number): number {
  let count = 0;
  for (let i = 0; i < one.length; i += channels) {
    for (let c = 0; c < channels; c++)
      if (one[i + c] !== two[i + c]) {
        count++;
        break;
      }
  }
  return count;
}

function disc(dx: number, dy: number, radius: number): number {
  return Math.max(0, Math.min(1, radius + 0.5 - Math.hypot(dx, dy)));
}

function span(middle: number, radius: number, count: number): [number, number] {
  return [Math.max(0, Math.floor(middle - radius - 1)), Math.min(count - 1, Math.ceil(middle + radius + 1))];
}

/** Places on the way from one to another, the end included, the start only when it is also the end. */
function* steps(from: Place, to: Place, apart: number): Generator<Place> {
  const count = Math.max(1, Math.ceil(Math.hypot(to.x - from.x, to.y - from.y) / apart));
  for (let i = 1; i <= count; i++) yield { x: from.x + ((to.x - from.x) * i) / count, y: from.y + ((to.y - from.y) * i) / count };
}

function clamp(at: number, most: number): number {
  return Math.max(0, Math.min(most, at));
}
