// Points that go from where they stood to where they stand now, so that the eye can follow each.

import type { Scatter } from "../types.ts";
import { axis } from "./scatterplan.ts";

/** Milliseconds from map to map. */
export const GLIDE = 450;
/** More points than this jump: each picture of them would take too long. */
export const MOST = 4000;

/** Whether the points of two marks are the same ones, so that each can be followed. */
export function follows(before: Scatter, after: Scatter): boolean {
  const [count, stride] = after.points.shape;
  return (
    (count ?? 0) <= MOST && before.points.shape[0] === count && before.points.shape[1] === stride && before.drawn === after.drawn && before.drawn !== "thumbnails" &&
    before.kind === after.kind && before.keys.length === after.keys.length && before.keys.every((key, i) => key === after.keys[i])
  );
}

/** Places of one mark as numbers on the axes of another: each lies where it lay on the screen. */
export function carried(numbers: ArrayLike<number>, before: Scatter, after: Scatter): Float64Array {
  const stride = after.points.shape[1] ?? 2;
  const found = new Float64Array(numbers.length);
  for (let k = 0; k < stride; k++) {
    const [[factor, more], [wanted, less]] = [axis(before, k), axis(after, k)];
    for (let i = k; i < found.length; i += stride) found[i] = ((numbers[i] as number) * factor + more - less) / wanted;
  }
  return found;
}

/** Whether all lie where they are to go, as far as the eye can tell. */
export function still(from: Float64Array, after: Scatter): boolean {
  const stride = after.points.shape[1] ?? 2;
  const factors = Array.from({ length: stride }, (_, k) => axis(after, k)[0]);
  return from.every((start, i) => !(Math.abs(start - (after.points.data[i] as number)) * (factors[i % stride] as number) > 1e-4));
}

/** A share of the way, slow where it begins and ends; a point without a place on either end stands where it ends. */
export function between(from: Float64Array, to: ArrayLike<number>, share: number): Float64Array {
  const part = share <= 0 ? 0 : share >= 1 ? 1 : share * share * (3 - 2 * share);
  return Float64Array.from(from, (start, i) => {
    const end = to[i] as number;
    return part < 1 && Number.isFinite(start) && Number.isFinite(end) ? start + (end - start) * part : end;
  });
}

/** Moves points a picture at a time; `paint` is called for each. */
export class Glide {
  private from: Float64Array | null = null;
  private began = 0;
  private asked = 0;
  private paint: () => void;

  constructor(paint: () => void) {
    this.paint = paint;
  }

  /** From where the points of a mark stand just now to those of the next. */
  go(before: Scatter, after: Scatter): void {
    const stood = this.at(before);
    this.stop();
    if (!follows(before, after) || matchMedia("(prefers-reduced-motion: reduce)").matches) return;
    const from = carried(stood, before, after);
    if (still(from, after)) return;
    this.from = from;
    this.began = performance.now();
    this.step();
  }

  /** The numbers at which a mark's points stand just now. */
  at(mark: Scatter): Scatter["points"]["data"] {
    const share = (performance.now() - this.began) / GLIDE;
    if (!this.from || share >= 1) return mark.points.data;
    return between(this.from, mark.points.data, share);
  }

  stop(): void {
    cancelAnimationFrame(this.asked);
    this.from = null;
  }

  private step(): void {
    this.asked = requestAnimationFrame(() => {
      if (performance.now() - this.began >= GLIDE) this.from = null;
      else this.step();
      this.paint();
    });
  }
}
