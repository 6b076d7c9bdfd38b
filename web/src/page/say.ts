/** Numbers and times in words, with as many digits as they deserve. */

import { format } from "../marks/format.ts";
import type { Picture } from "../types.ts";

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

/**
 * The step that a picture tells of where it is not the one in sight; null where it is. Of a map on its way that is the step at which its points
 * stand, which is said also while it goes on; another step is not, as what is at work mostly comes at once.
 */
export function asideOf(picture: Picture | null, busy: boolean, step: number): number | null {
  const { places, step: own = null } = picture ?? {};
  // A draft of a map stays on show while steps go on: what it stands for is said at once, not when its work ends.
  const told = places && (places.step !== own || picture?.final === false) ? places.step : busy ? null : own;
  return told === step ? null : told;
}

/** What is behind that number. */
export function behind(step: number, live: boolean): string {
  return `${live ? "The training is" : "The slider stands"} at step ${step}: this is the newest that could be drawn of it.`;
}
