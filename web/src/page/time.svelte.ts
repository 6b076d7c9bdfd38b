/** Moving through the training's time: to a step, to the live end, snapshot by snapshot, and playing over it. */

import type { Page } from "./store.svelte.ts";

/** A frame stays at least so many milliseconds, and until its pictures are there, but never longer than the second number. */
const FRAME = 90;
const LONGEST = 1500;

type Here = Pick<Page, "state" | "step" | "address" | "settled" | "go">;

export class Time {
  playing = $state(false);
  private page: Here;

  constructor(page: Here) {
    this.page = page;
  }

  /** Go to the snapshot nearest to a step; the newest while it grows is the live end. */
  goTo(step: number): void {
    const snapshots = this.page.state?.snapshots ?? [];
    if (!snapshots.length) return;
    const nearest = snapshots.reduce((best, s) => (Math.abs(s - step) < Math.abs(best - step) ? s : best));
    this.page.go({ step: String(nearest) });
  }

  goLive(): void {
    this.playing = false;
    this.page.go({ step: "" });
  }

  /** Move by a number of snapshots; false when there are no more in that direction. */
  move(by: number): boolean {
    const snapshots = this.page.state?.snapshots ?? [];
    if (!snapshots.length) return false;
    const here = this.page.step;
    const at = snapshots.findLastIndex((step) => step <= here);
    const between = snapshots[at] !== here;
    const target = at + by + (by < 0 && between ? 1 : 0);
    if (target >= snapshots.length - 1 && by > 0 && this.page.state?.alive) {
      const there = this.page.address.step === "";
      this.page.go({ step: "" });
      return !there;
    }
    const clamped = Math.max(0, Math.min(snapshots.length - 1, target));
    this.page.go({ step: String(snapshots[clamped]) });
    return clamped === target && snapshots[clamped] !== here;
  }

  /** Play over the training from here; from the beginning when at the end. */
  play(): void {
    if (this.playing) {
      this.playing = false;
      return;
    }
    const snapshots = this.page.state?.snapshots ?? [];
    if (snapshots.length < 2) return;
    if (this.page.address.step === "" || this.page.step >= snapshots.at(-1)!) this.page.go({ step: String(snapshots[0]) });
    this.playing = true;
    let shownAt = performance.now();
    const tick = (now: number): void => {
      if (!this.playing) return;
      const waited = now - shownAt;
      if ((this.page.settled && waited > FRAME) || waited > LONGEST) {
        shownAt = now;
        if (!this.move(1)) {
          this.playing = false;
          return;
        }
      }
      requestAnimationFrame(tick);
    };
    requestAnimationFrame(tick);
  }
}
