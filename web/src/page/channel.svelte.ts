/** One view's way to the server: asks, keeps the last picture while the next is computed, and never asks faster than it is answered. */

import { decode } from "../picture.ts";
import type { Picture } from "../types.ts";
import type { FromServer, Request } from "./protocol.ts";

export interface Line {
  show(channel: number, request: Request): boolean;
  hide(channel: number): void;
  ack(channel: number, sequence: number): void;
  cancel(channel: number): void;
}

export interface Failure {
  kind: string;
  message: string;
}

/** A moving slider or pen waits this long for the picture under way before it is given up for the newer one. */
const PATIENCE = 1500;

let numbers = 0;

export class Channel {
  readonly number = ++numbers;
  picture = $state.raw<Picture | null>(null);
  /** What the picture on show was asked with. */
  shown = $state.raw<Request | null>(null);
  busy = $state(false);
  cancelled = $state(false);
  failure = $state.raw<Failure | null>(null);
  progress = $state.raw<{ share: number; note: string; seconds: number | null } | null>(null);
  /** Milliseconds from the request to the first picture. */
  delay = $state(0);

  private line: Line;
  private asked: Request | null = null;
  private next: Request | null = null;
  private askedAt = 0;
  private answered = true;
  private timer = 0;

  constructor(line: Line) {
    this.line = line;
  }

  /** Ask for a picture; null stops asking and keeps what is shown. */
  want(request: Request | null): void {
    if (request === null) {
      this.stop();
      return;
    }
    const before = this.next ?? this.asked;
    if (before && same(before, request)) return;
    if (!this.answered && this.asked && flows(this.asked, request)) {
      const left = PATIENCE - (performance.now() - this.askedAt);
      if (left > 0) {
        this.next = request;
        clearTimeout(this.timer);
        this.timer = window.setTimeout(() => this.follow(), left);
        return;
      }
    }
    this.ask(request);
  }

  /** Ask the same again: after a failure, a cancel or a reconnection. */
  again(): void {
    if (this.asked) this.ask(this.next ?? this.asked);
  }

  cancel(): void {
    this.line.cancel(this.number);
    this.next = null;
    this.cancelled = true;
    this.settle();
  }

  stop(): void {
    if (!this.asked) return;
    this.line.hide(this.number);
    this.asked = this.next = null;
    this.settle();
  }

  get settled(): boolean {
    return this.answered && !this.next;
  }

  receive(message: FromServer): void {
    if (message.event === "busy") this.busy = true;
    else if (message.event === "progress")
      this.progress = {
        share: message.total > 0 ? Math.min(1, message.done / message.total) : 0,
        note: message.note ?? "",
        seconds: message.seconds ?? null,
      };
    else if (message.event === "error") {
      if (message.kind !== "Cancelled") this.failure = { kind: message.kind, message: message.message };
      this.settle();
      this.follow();
    } else if (message.event === "done") {
      this.settle();
      this.follow();
    }
  }

  /** A picture came: its bytes begin at ``start``. */
  frame(sequence: number, bytes: ArrayBuffer, start: number): void {
    if (!this.asked) return;
    try {
      this.picture = decode(bytes, start);
      this.shown = this.asked;
      this.failure = null;
      this.cancelled = false;
    } catch (error) {
      this.failure = { kind: "Damaged", message: String(error) };
    }
    this.delay = performance.now() - this.askedAt;
    if (this.picture?.final !== false) this.settle();
    // Acknowledge once it is on the screen: a hidden tab asks for nothing more.
    requestAnimationFrame(() => {
      this.line.ack(this.number, sequence);
      if (this.answered) this.follow();
    });
  }

  private ask(request: Request): void {
    clearTimeout(this.timer);
    this.next = null;
    this.asked = request;
    this.askedAt = performance.now();
    this.answered = false;
    this.progress = null;
    this.cancelled = false;
    this.busy = true;
    if (this.shown && this.shown.view !== request.view) this.picture = null;
    if (!this.line.show(this.number, request)) this.settle();
  }

  private follow(): void {
    const next = this.next;
    if (next) this.ask(next);
  }

  private settle(): void {
    clearTimeout(this.timer);
    this.answered = true;
    this.busy = false;
    this.progress = null;
  }
}

function same(one: Request, two: Request): boolean {
  return one.input === two.input && flows(one, two) && one.step === two.step;
}

/** Whether only the step or the input differs: what moves under a slider or a pen. */
function flows(one: Request, two: Request): boolean {
  const rest = (r: Request): string => JSON.stringify([r.run, r.other, r.view, r.knobs, r.selection]);
  return rest(one) === rest(two);
}
