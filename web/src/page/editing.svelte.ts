/** The input that is being edited: its pixels, what is done to them, and every state before. */

import { exact } from "./pixels.ts";
import { fresh } from "./received.ts";
import {
  NOTHING, Smear, Stroke, bytesOf, changed, countChanged, groundOf, isNothing, laid, pasted, warpBack,
  type Change, type Pixels, type Place, type Pull,
} from "./edit.ts";
import { partOf, type Part } from "./parts.ts";
import { page } from "./store.svelte.ts";

export type Tool = "pen" | "eraser" | "smear" | "warp" | "shift" | "turn" | "light" | "patch";

/** Name, word and what to do, in the order of the buttons. */
export const TOOLS: readonly (readonly [Tool, string, string])[] = [
  ["pen", "Pen", "Paint. Alt and a click takes up a colour from the picture."],
  ["eraser", "Eraser", "Paint with the picture's background."],
  ["smear", "Smear", "Drag: what lies under the brush is taken along."],
  ["warp", "Warp", "Press where it should move, and drag; a click alone holds a place. A double click takes a handle away."],
  ["shift", "Shift", "Drag the whole picture."],
  ["turn", "Rotate", "Drag round the middle, or set the angle."],
  ["light", "Brightness", "Brightness and contrast of all pixels."],
  ["patch", "Patch", "Choose a part of another example, then press where it should go."],
];

interface Moment {
  base: Pixels;
  change: Change;
}

/** What the pointer is in the middle of doing. */
type Deed =
  | { kind: "stroke"; stroke: Stroke; from: Pixels; ink: readonly number[] }
  | { kind: "smear"; smear: Smear }
  | { kind: "paste"; from: Pixels }
  | { kind: "pull"; index: number; off: Place }
  | { kind: "shift"; start: Place; right: number; down: number }
  | { kind: "turn"; start: number; turn: number };

const MEMORY = 60;

export class Editing {
  tool = $state.raw<Tool>("pen");
  /** The brush's width in pixels of the input. */
  size = $state(2);
  ink = $state.raw<readonly number[]>([255]);
  base = $state.raw<Pixels | null>(null);
  change = $state.raw<Change>(NOTHING);
  failure = $state("");
  /** The example that it was made from; null for another input. */
  example = $state.raw<number | null>(null);
  /** The patch tool's other example, and the part of it that is pasted. */
  other = $state.raw<{ example: number; pixels: Pixels } | null>(null);
  cut = $state.raw({ x: 0, y: 0, width: 4, height: 4 });
  private past = $state.raw<readonly Moment[]>([]);
  private future = $state.raw<readonly Moment[]>([]);
  private start: Pixels | null = null;
  /** What the page looked at when the editing began, and what it was sent since. */
  private origin: { input: Part | null; place: string } | null = null;
  private sent: Part | null = null;
  private deed: Deed | null = null;
  private frame = 0;
  private loading = 0;

  readonly ground = $derived(this.base ? groundOf(this.base) : [0]);
  readonly shown = $derived(this.base ? changed(this.base, this.change, this.ground) : null);
  readonly bytes = $derived(this.shown ? bytesOf(this.shown) : null);
  readonly different = $derived(this.bytes && this.start ? countChanged(this.bytes, bytesOf(this.start), this.start.channels) : 0);
  readonly canUndo = $derived(this.past.length > 0);
  readonly canRedo = $derived(this.future.length > 0);

  /** Which part of the input is painted on; of a picture alone, all of it. */
  private get part(): string {
    return partOf(page.state?.input ?? {}, "image")?.name ?? "";
  }

  /** Where the input comes from, as a text: another one starts the editing anew. */
  private get place(): string {
    return `${page.run} ${page.chosen("example") ?? "example:0"}`;
  }

  /** Begin with what the page looks at now, unless that is what was edited here. */
  async open(): Promise<void> {
    const input = page.made(this.part);
    const here = this.place;
    const same = this.origin?.place === here || input !== null;
    if (this.base && same && input === this.sent) return;
    if (this.base && same && input === this.origin?.input) return this.startAgain();
    const turn = ++this.loading;
    this.failure = "";
    try {
      const pixels = await fresh();
      if (turn !== this.loading) return;
      this.origin = { input, place: here };
      this.example = input === null ? page.example : null;
      this.begin(pixels);
    } catch (error) {
      if (turn === this.loading) this.failure = error instanceof Error ? error.message : String(error);
    }
  }

  /** The page went back to what it looked at before: so does this, and what was painted can be brought back. */
  private startAgain(): void {
    if (!this.different) return;
    this.keep();
    this.base = this.start;
    this.change = { ...NOTHING, reach: this.change.reach };
    this.sent = page.made(this.part);
  }

  private begin(pixels: Pixels): void {
    const sized = this.start?.width === pixels.width && this.start.channels === pixels.channels;
    this.base = this.start = pixels;
    this.change = { ...NOTHING, reach: Math.max(2, Math.round(Math.min(pixels.width, pixels.height) / 7)) };
    this.past = this.future = [];
    this.deed = this.sent = null;
    if (sized) return;
    this.size = Math.max(1, Math.round(Math.min(pixels.width, pixels.height) / 12));
    const dark = this.ground.reduce((sum, part) => sum + part, 0) < 127.5 * pixels.channels;
    this.ink = pixels.channels === 1 ? [dark ? 255 : 0] : dark ? [255, 255, 255] : [0, 0, 0];
    const side = Math.max(2, Math.round(Math.min(pixels.width, pixels.height) / 3));
    this.cut = { x: (pixels.width - side) >> 1, y: (pixels.height - side) >> 1, width: side, height: side };
    this.other = null;
  }

  /** Choose a tool; what the last one did to the whole picture is settled. */
  choose(tool: Tool): void {
    this.drop();
    this.settle();
    this.tool = tool;
  }

  // --- pointer and keys ---------------------------------------------------------------------------------------------

  /** Begin a deed at a place; `near` is how far, in pixels, a handle may be from it. */
  down(at: Place, near: number, taking = false): void {
    const { base } = this;
    if (!base) return;
    if (taking && this.tool === "pen") return this.take(at);
    if (this.tool === "pen" || this.tool === "eraser") {
      this.keep();
      const from = this.settle()!;
      this.deed = { kind: "stroke", stroke: new Stroke(from), from, ink: this.tool === "pen" ? this.ink : groundOf(from) };
    } else if (this.tool === "smear") {
      this.keep();
      this.deed = { kind: "smear", smear: new Smear(this.settle()!, at, this.size / 2) };
    } else if (this.tool === "patch") {
      if (!this.other) return;
      this.keep();
      this.deed = { kind: "paste", from: this.settle()! };
    } else if (this.tool === "warp") this.grab(at, near);
    else if (this.tool === "shift") {
      this.keep();
      this.deed = { kind: "shift", start: at, right: this.change.right, down: this.change.down };
    } else if (this.tool === "turn") {
      this.keep();
      this.deed = { kind: "turn", start: this.angle(at), turn: this.change.turn };
    }
    this.move(at);
  }

  move(at: Place): void {
    const { deed } = this;
    if (!deed || !this.base) return;
    if (deed.kind === "stroke") {
      deed.stroke.to(this.size <= 1 ? { x: Math.floor(at.x) + 0.5, y: Math.floor(at.y) + 0.5 } : at, Math.max(0.5, (this.size - 1) / 2));
      this.base = laid(deed.from, deed.stroke, deed.ink);
    } else if (deed.kind === "smear") this.base = deed.smear.to(at);
    else if (deed.kind === "paste") this.base = pasted(deed.from, this.other!.pixels, this.cut, at);
    else if (deed.kind === "pull") this.pull(deed.index, { x: at.x + deed.off.x, y: at.y + deed.off.y });
    else if (deed.kind === "shift")
      this.change = { ...this.change, right: deed.right + Math.round(at.x - deed.start.x), down: deed.down + Math.round(at.y - deed.start.y) };
    else this.change = { ...this.change, turn: within(deed.turn + ((this.angle(at) - deed.start) * 180) / Math.PI) };
    this.send();
  }

  up(): void {
    this.deed = null;
    this.forgetIdle();
  }

  /** Give up what the pointer is in the middle of. */
  drop(): boolean {
    if (!this.deed) return false;
    this.deed = null;
    this.undo();
    this.future = [];
    return true;
  }

  private angle(at: Place): number {
    return Math.atan2(at.y - this.base!.height / 2, at.x - this.base!.width / 2);
  }

  private take(at: Place): void {
    const { shown } = this;
    if (!shown) return;
    const i = (Math.min(shown.height - 1, Math.floor(at.y)) * shown.width + Math.min(shown.width - 1, Math.floor(at.x))) * shown.channels;
    this.ink = Array.from(bytesOf(shown).subarray(i, i + shown.channels));
  }

  // --- the warp's handles -------------------------------------------------------------------------------------------

  private grab(at: Place, near: number): void {
    this.keep();
    let index = this.change.pulls.findIndex(({ to }) => Math.hypot(to.x - at.x, to.y - at.y) <= near);
    if (index < 0) index = this.pin(at);
    const { to } = this.change.pulls[index]!;
    this.deed = { kind: "pull", index, off: { x: to.x - at.x, y: to.y - at.y } };
  }

  /** A new handle that holds what is seen at a place, so that setting it changes nothing. */
  private pin(at: Place): number {
    const back = warpBack(this.change.pulls, this.change.reach);
    this.change = { ...this.change, pulls: [...this.change.pulls, { from: back?.(at) ?? at, to: at }] };
    return this.change.pulls.length - 1;
  }

  private pull(index: number, to: Place): void {
    const pulls: Pull[] = this.change.pulls.map((one, i) => (i === index ? { ...one, to } : one));
    this.change = { ...this.change, pulls };
  }

  /** Move a handle by keys, as one state to come back to. */
  nudge(index: number, dx: number, dy: number): void {
    this.keep();
    const { to } = this.change.pulls[index]!;
    this.pull(index, { x: to.x + dx, y: to.y + dy });
    this.send();
  }

  unpin(index: number): void {
    this.keep();
    this.change = { ...this.change, pulls: this.change.pulls.filter((_, i) => i !== index) };
    this.send();
  }

  // --- what is done to the whole picture ----------------------------------------------------------------------------

  /** Set a part of the change by a slider; `first` begins a state to come back to. */
  alter(part: Partial<Change>, first = true): void {
    if (first) this.keep();
    this.change = { ...this.change, ...part };
    this.send();
  }

  setOther(example: number, pixels: Pixels): void {
    if (!this.base || pixels.width !== this.base.width || pixels.channels !== this.base.channels) return;
    this.other = { example, pixels };
  }

  // --- states -------------------------------------------------------------------------------------------------------

  /** Remember this state, to come back to. */
  private keep(): void {
    if (!this.base) return;
    this.past = [...this.past.slice(1 - MEMORY), { base: this.base, change: this.change }];
    this.future = [];
  }

  /** Take away a kept state from which nothing became. */
  private forgetIdle(): void {
    const last = this.past.at(-1);
    if (last && last.base === this.base && last.change === this.change) this.past = this.past.slice(0, -1);
  }

  /** Make what is done to the whole picture part of its pixels. */
  private settle(): Pixels | null {
    if (this.shown && !isNothing(this.change)) this.base = this.shown;
    this.change = { ...NOTHING, reach: this.change.reach };
    return this.base;
  }

  undo(): void {
    this.deed = null;
    const before = this.past.at(-1);
    if (!before || !this.base) return;
    this.future = [{ base: this.base, change: this.change }, ...this.future];
    this.past = this.past.slice(0, -1);
    this.base = before.base;
    this.change = before.change;
    this.send();
  }

  redo(): void {
    const next = this.future[0];
    if (!next || !this.base) return;
    this.past = [...this.past, { base: this.base, change: this.change }];
    this.future = this.future.slice(1);
    this.base = next.base;
    this.change = next.change;
    this.send();
  }

  /** Back to the pixels that it began with; can itself be undone. */
  reset(): void {
    if (!this.start || (this.base === this.start && isNothing(this.change))) return;
    this.keep();
    this.base = this.start;
    this.change = { ...NOTHING, reach: this.change.reach };
    this.send();
  }

  /** Let the page look at these pixels; once a frame at most. */
  private send(): void {
    this.frame ||= requestAnimationFrame(() => {
      this.frame = 0;
      const { bytes, shown, origin } = this;
      if (!bytes || !shown || !origin) return;
      this.sent = this.different ? exact(bytes, shown.width, shown.height, shown.channels, this.example) : origin.input;
      page.make(this.part, this.sent);
    });
  }
}

function within(turn: number): number {
  const found = ((((turn + 180) % 360) + 360) % 360) - 180;
  return Math.round(found * 10) / 10;
}

export const editing = new Editing();
