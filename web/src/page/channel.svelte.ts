/** One view's way to the server: asks, keeps the last picture while the next is computed, and never asks faster than it is answered. */

import { decode } from "../picture.ts";
import { overlaid, thrownBack } from "./overlay.ts";
import type { Picture } from "../types.ts";
import { PATIENCE, type FromServer, type Request } from "../protocol.ts";

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

let numbers = 0;

export class Channel {
  readonly number = ++numbers;
  picture = $state.raw<Picture | null>(null);
  /** Parts of the picture that are still the last picture's: a refining look has not come to them yet. */
  stale = $state.raw<readonly number[][]>([]);
  /** The picture on show is of something else than what is asked for now: other knobs, another selection, another run. */
  outdated = $state(false);
  /** What the picture on show was asked with. */
  shown = $state.raw<Request | null>(null);
  busy = $state(false);
  cancelled = $state(false);
  failure = $state.raw<Failure | null>(null);
  progress = $state.raw<{ share: number; note: string; seconds: number | null } | null>(null);
  /** Milliseconds from the request to the first picture. */
  delay = $state(0);

  /** Told of each picture as it comes, and of failures. */
  onpicture: ((picture: Picture) => void) | null = null;
  onfailure: ((failure: Failure) => void) | null = null;

  private line: Line;
  private asked: Request | null = null;
  private next: Request | null = null;
  private askedAt = 0;
  private given = false;
  /** What was on show before something was tried out, to come back to at once. */
  private before: { request: Request; picture: Picture; stale: readonly number[][] } | null = null;
  private answered = true;
  private timer = 0;

  constructor(line: Line) {
    this.line = line;
  }

  /**
   * Ask for a picture; null stops asking and keeps what is shown.
   *
   * `moving` while a handle is dragged: one question is in flight, the newest waits. `trying` while the pointer rests on
   * something: what is on show is kept, and comes back at once.
   */
  want(request: Request | null, { moving = false, trying = false } = {}): void {
    if (request === null) {
      this.stop();
      return;
    }
    const before = this.next ?? this.asked;
    if (before && same(before, request)) return;
    if (trying && !this.before && this.picture && this.shown) this.before = { request: this.shown, picture: this.picture, stale: this.stale };
    if (!trying && this.before) this.comeBack(request);
    if (!this.answered && this.asked && (moving ? this.asked.view === request.view : flows(this.asked, request))) {
      this.next = request;
      if (this.wait() > 0) return;
    }
    this.ask(request);
  }

  private comeBack(request: Request): void {
    const { request: asked, picture, stale } = this.before!;
    this.before = null;
    this.outdated = false;
    if (same(asked, request)) [this.picture, this.shown, this.stale] = [picture, asked, stale];
  }

  /** Go on to what waits when the picture under way has had its time; returns what is left of that. */
  private wait(): number {
    const left = (this.given ? PATIENCE.refining : PATIENCE.first) - (performance.now() - this.askedAt);
    clearTimeout(this.timer);
    if (left > 0) this.timer = window.setTimeout(() => this.follow(), left);
    return left;
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

  /** Whether it looks at an input of the person's own. */
  get asking(): boolean {
    return Boolean(this.asked?.input);
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
      if (message.kind !== "Cancelled") {
        this.failure = { kind: message.kind, message: message.message };
        this.onfailure?.(this.failure);
      }
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
    let final = true;
    try {
      const picture = decode(bytes, start);
      final = picture.final;
      if (!(this.picture && this.shown && thrownBack(this.picture, picture, same(this.shown, this.asked)))) {
        this.take(picture, this.asked);
        this.shown = this.asked;
      }
      this.failure = null;
      this.cancelled = false;
    } catch (error) {
      this.failure = { kind: "Damaged", message: String(error) };
    }
    this.delay = performance.now() - this.askedAt;
    this.given = true;
    if (final) this.settle();
    else if (this.next) this.wait();
    // Acknowledge once it is on the screen: a hidden tab asks for nothing more.
    requestAnimationFrame(() => {
      this.line.ack(this.number, sequence);
      if (this.answered) this.follow();
    });
  }

  /** Show a picture; what a refining one has not come to yet stays from the last one, in its place. */
  private take(picture: Picture, asked: Request): void {
    const before = this.shown?.view === asked.view ? this.picture : null;
    const laid = picture.final || !before ? null : overlaid(before, picture);
    this.picture = laid?.picture ?? picture;
    // At the live end the same question is answered anew each second: what stands there is hardly older, and is not dimmed.
    this.stale = laid && !(this.shown && same(this.shown, asked)) ? laid.stale : [];
    this.outdated = false;
    this.onpicture?.(picture);
  }

  private ask(request: Request): void {
    clearTimeout(this.timer);
    this.given = false;
    this.next = null;
    this.asked = request;
    this.askedAt = performance.now();
    this.answered = false;
    this.progress = null;
    this.cancelled = false;
    this.busy = true;
    if (this.shown && this.shown.view !== request.view) this.picture = null;
    this.outdated = this.picture !== null && this.shown !== null && !flows(this.shown, request);
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
  return one.input === two.input && flows(one, two) && one.step === two.step && JSON.stringify(one.edits) === JSON.stringify(two.edits);
}

/** Whether only the step, the input or the place of the weights differs: what moves under a slider, a pen or a hand. */
function flows(one: Request, two: Request): boolean {
  const rest = (r: Request): string => JSON.stringify([r.run, r.other, r.view, r.knobs, r.selection]);
  return rest(one) === rest(two);
}
