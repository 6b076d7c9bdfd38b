// Where a plane of numbers crosses a level, as an SVG path: marching squares with straight interpolation.

import type { NdArray } from "../types.ts";

/** The contour of |values| at a level, in cell units; the value of a cell stands at its centre. */
export function outline(values: NdArray, level: number): string {
  const [height = 0, width = 0] = values.shape;
  const parts: string[] = [];
  // One ring of zeros around the plane closes every contour.
  const at = (x: number, y: number): number =>
    x < 0 || y < 0 || x >= width || y >= height ? 0 : Math.abs(values.data[y * width + x] ?? 0);
  const clampX = (x: number): number => Math.max(0, Math.min(width, x));
  const clampY = (y: number): number => Math.max(0, Math.min(height, y));
  for (let y = -1; y < height; y++) {
    for (let x = -1; x < width; x++) {
      const [a, b, c, d] = [at(x, y), at(x + 1, y), at(x + 1, y + 1), at(x, y + 1)];
      const kind = (a >= level ? 1 : 0) | (b >= level ? 2 : 0) | (c >= level ? 4 : 0) | (d >= level ? 8 : 0);
      for (const [from, to] of SEGMENTS[kind] ?? []) {
        const [x1, y1] = crossing(from, x, y, a, b, c, d, level);
        const [x2, y2] = crossing(to, x, y, a, b, c, d, level);
        parts.push(`M${round(clampX(x1))} ${round(clampY(y1))}L${round(clampX(x2))} ${round(clampY(y2))}`);
      }
    }
  }
  return parts.join("");
}

type Side = "top" | "right" | "bottom" | "left";

const SEGMENTS: readonly (readonly (readonly [Side, Side])[])[] = [
  [], [["left", "top"]], [["top", "right"]], [["left", "right"]],
  [["right", "bottom"]], [["left", "top"], ["right", "bottom"]], [["top", "bottom"]], [["left", "bottom"]],
  [["bottom", "left"]], [["top", "bottom"]], [["top", "right"], ["bottom", "left"]], [["right", "bottom"]],
  [["left", "right"]], [["top", "right"]], [["left", "top"]], [],
];

function crossing(side: Side, x: number, y: number, a: number, b: number, c: number, d: number, level: number): [number, number] {
  const share = (from: number, to: number): number => (from === to ? 0.5 : (level - from) / (to - from));
  const [left, top] = [x + 0.5, y + 0.5];
  if (side === "top") return [left + share(a, b), top];
  if (side === "bottom") return [left + share(d, c), top + 1];
  if (side === "left") return [left, top + share(a, d)];
  return [left + 1, top + share(b, c)];
}

function round(value: number): number {
  return Math.round(value * 100) / 100;
}
