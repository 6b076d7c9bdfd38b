// Axes: where a number falls on the screen, which numbers get a tick, and how a tick is written.

import { format, timed } from "./format.ts";

export type AxisKind = "step" | "time" | "number";

/** A straight or logarithmic way from numbers to pixels and back. */
export class Scale {
  readonly low: number;
  readonly high: number;
  readonly from: number;
  readonly to: number;
  readonly log: boolean;

  constructor(range: readonly [number, number], pixels: readonly [number, number], log = false) {
    [this.low, this.high] = range;
    [this.from, this.to] = pixels;
    this.log = log;
  }

  /** The pixel of a value; NaN where a logarithmic scale has no place for it. */
  at(value: number): number {
    const share = this.log
      ? (Math.log(value) - Math.log(this.low)) / (Math.log(this.high) - Math.log(this.low))
      : (value - this.low) / (this.high - this.low);
    return this.from + share * (this.to - this.from);
  }

  /** The value at a pixel. */
  value(pixel: number): number {
    const share = (pixel - this.from) / (this.to - this.from);
    return this.log ? this.low * (this.high / this.low) ** share : this.low + share * (this.high - this.low);
  }

  ticks(count: number, kind: AxisKind = "number"): number[] {
    if (this.log) return logTicks(this.low, this.high, count);
    if (kind === "time") return stepTicks(this.low, this.high, timeStep((this.high - this.low) / Math.max(1, count)));
    let found: number[] = [];
    // One tick alone says nothing about the scale.
    for (let wanted = Math.max(1, count); found.length < 2 && wanted <= count + 4; wanted++) {
      const step = niceStep((this.high - this.low) / wanted);
      found = stepTicks(this.low, this.high, kind === "step" ? Math.max(1, step) : step);
    }
    return found;
  }
}

/** 1, 2 or 5 times a power of ten, at least as large as asked. */
export function niceStep(wanted: number): number {
  if (!(wanted > 0) || !Number.isFinite(wanted)) return 1;
  const power = 10 ** Math.floor(Math.log10(wanted));
  const share = wanted / power;
  return power * (share <= 1 ? 1 : share <= 2 ? 2 : share <= 5 ? 5 : 10);
}

const TIMES = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400];

function timeStep(wanted: number): number {
  if (wanted < 1) return niceStep(wanted);
  return TIMES.find((time) => time >= wanted) ?? niceStep(wanted / 86400) * 86400;
}

function stepTicks(low: number, high: number, step: number): number[] {
  const found: number[] = [];
  const first = Math.ceil(low / step - 1e-9);
  for (let i = first; i * step <= high + step * 1e-9 && found.length < 100; i++) found.push(Number((i * step).toPrecision(12)));
  return found;
}

function logTicks(low: number, high: number, count: number): number[] {
  const first = Math.ceil(Math.log10(low) - 1e-9);
  const last = Math.floor(Math.log10(high) + 1e-9);
  const decades: number[] = [];
  const every = Math.max(1, Math.ceil((last - first + 1) / Math.max(1, count)));
  for (let power = first; power <= last; power += every) decades.push(Number((10 ** power).toPrecision(12)));
  if (decades.length >= 2) return decades;
  const finer: number[] = [];
  for (let power = first - 1; power <= last; power++) {
    for (const part of [1, 2, 5]) {
      const value = Number((part * 10 ** power).toPrecision(12));
      if (value >= low * 0.999999 && value <= high * 1.000001) finer.push(value);
    }
  }
  return finer.length >= 2 ? finer : stepTicks(low, high, niceStep((high - low) / Math.max(1, count)));
}

/** So many digits tell any two ticks apart. */
const DIGITS = 12;

/** A tick's text: all ticks of an axis with the same number of decimals, and with as many digits as no two of them read alike. */
export function tickText(value: number, ticks: readonly number[], kind: AxisKind = "number"): string {
  if (kind === "time") return apart(value, ticks, 2, timed);
  const size = Math.max(...ticks.map(Math.abs));
  if (value !== 0 && (size >= 1e6 || size < 1e-5)) return apart(value, ticks, 3, (tick, digits) => format(tick, digits).replace(/\.0+ ×/, " ×"));
  const decimals = Math.max(0, ...ticks.map((tick) => (String(tick).split(".")[1] ?? "").length));
  const logarithmic = ticks.length > 1 && (ticks[1] ?? 0) / (ticks[0] || 1) >= 2 && (ticks[0] ?? 0) > 0;
  if (logarithmic) return format(value);
  return value.toLocaleString("en-US", { minimumFractionDigits: decimals, maximumFractionDigits: decimals }).replace("-", "−");
}

function apart(value: number, ticks: readonly number[], least: number, write: (tick: number, digits: number) => string): string {
  let digits = least;
  while (digits < DIGITS && new Set(ticks.map((tick) => write(tick, digits))).size < new Set(ticks).size) digits++;
  return write(value, digits);
}

/** The range of finite numbers, with a little room; never empty. */
export function extent(low: number, high: number, room: number, log: boolean): [number, number] {
  if (!(low <= high)) return log ? [0.1, 1] : [0, 1];
  if (log) {
    if (low === high) return [low / 2, high * 2];
    const factor = (high / low) ** room;
    return [low / factor, high * factor];
  }
  if (low === high) return low === 0 ? [0, 1] : [low - Math.abs(low) * 0.1, high + Math.abs(high) * 0.1];
  return [low - (high - low) * room, high + (high - low) * room];
}

/** The index of the point nearest to a number in an ascending array. */
export function nearest(xs: ArrayLike<number>, x: number): number {
  let low = 0;
  let high = xs.length - 1;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((xs[middle] as number) < x) low = middle + 1;
    else high = middle;
  }
  if (low > 0 && Math.abs((xs[low - 1] as number) - x) <= Math.abs((xs[low] as number) - x)) return low - 1;
  return low;
}
