/** Numbers and times in words, with as many digits as they deserve. */

import { format } from "../marks/format.ts";

/** A number as the pictures write it. */
export const sayNumber = (value: number): string => format(value);

export function sayWhole(value: number): string {
  return Math.round(value).toLocaleString("en-GB");
}

/** "3 s", "2 min", "1.5 h". */
export function saySeconds(seconds: number): string {
  if (seconds < 1) return `${Math.max(1, Math.round(seconds * 1000))} ms`;
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  return `${(seconds / 3600).toFixed(1)} h`;
}
