/** How long work will still take, by the shares of it that were done; nothing while that wavers.
 *
 * The beginning of long work says little of its end: what is compiled, loaded or laid out first takes its own time. So the end is foretold at each
 * word by the pace of the later half, and said only once several forecasts, over some seconds, have come to the same. */

/** Milliseconds over which forecasts agree before one is said, … */
const LONG = 3000;
/** … how many of them, … */
const SEVERAL = 4;
/** … and within which share of what is left. */
const ALIKE = 0.25;

export class Estimate {
  private told: { at: number; share: number; end: number }[] = [];

  /** So much was done at so many milliseconds. Work that begins anew is foretold anew. */
  hear(at: number, share: number): void {
    const last = this.told.at(-1);
    if (last && share < last.share) this.told = [];
    else if (last && share === last.share) return;
    const begun = this.told.find((one) => one.at >= (at + (this.told[0]?.at ?? at)) / 2) ?? this.told.at(-1);
    const pace = begun && at > begun.at ? (share - begun.share) / (at - begun.at) : 0;
    this.told.push({ at, share, end: pace > 0 ? at + (1 - share) / pace : Infinity });
  }

  /** Seconds that are left at a moment; null where that is not known, or no longer. */
  left(now: number): number | null {
    const last = this.told.at(-1);
    if (!last || !Number.isFinite(last.end) || last.end <= now) return null;
    const recent = this.told.filter((one) => one.at >= last.at - Math.max(LONG, (last.end - last.at) * ALIKE));
    const spanned = last.at - recent[0]!.at >= LONG;
    const alike = recent.every((one) => Math.abs(one.end - last.end) <= ALIKE * Math.max(last.end - one.at, LONG));
    // Long silence after the last word: the pace is another one.
    const silent = now - last.at > LONG + 3 * ((last.at - recent[0]!.at) / Math.max(1, recent.length - 1));
    return spanned && recent.length >= SEVERAL && alike && !silent ? (last.end - now) / 1000 : null;
  }
}
