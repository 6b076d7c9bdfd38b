// What a mark gets from whoever shows it, and what it gives back when it is drawn.

import type { Theme } from "../colour.ts";

/** "against" puts keys into set B, which a view compares with: a 7 rather than a 2. */
export type How = "one" | "toggle" | "range" | "against" | "against too";
export type Value = string | number | boolean;

/** The page, the notebook widget and the exported file each bring one of these. Its fields may change; `refresh` follows. */
export interface Context {
  /** The chosen keys, such as "unit:features.3/17". */
  readonly selection: readonly string[];
  /** The keys of set B. */
  readonly against: readonly string[];
  /** The key under the pointer, in whichever mark it is. */
  readonly hovered: string | null;
  readonly theme: Theme;
  readonly classes: readonly string[];
  /** Nobody hears of knobs: handles are shown, and do not move. */
  readonly fixed: boolean;
  select(keys: string[], how: How): void;
  hover(key: string | null): void;
  /** Set a knob of the view: a handle was dragged, a block was opened. `moving` while more of it is to come. */
  set(knob: string, value: Value, moving?: boolean): void;
  /** Send a command to the training. */
  act(command: string, knobs: Readonly<Record<string, Value>>): void;
  /** Move the time slider. */
  step(step: number): void;
}

/** A pixel that the pointer is on, in an image of that size. */
export interface Pixel {
  readonly row: number;
  readonly column: number;
  readonly height: number;
  readonly width: number;
}

/** A mark on the screen. */
export interface Drawn<M> {
  /** Show other data of the same kind; what did not change keeps its place, its size and its canvases. */
  update(mark: M): void;
  /** The context changed: selection, hover or theme. */
  refresh(): void;
  /** The pointer is on a pixel of a picture beside this one; null when it has left. */
  point?(at: Pixel | null): void;
  /** Where the few chosen points lie on the screen, by their keys; the mark tells by an event (joins.ts) that they moved. */
  spots?(): ReadonlyMap<string, readonly [number, number]> | undefined;
  destroy(): void;
}

/** The selection, ready to be asked. */
export class Chosen {
  private readonly keys = new Set<string>();
  private readonly ranges: { kind: string; low: number; high: number }[] = [];

  constructor(selection: readonly string[]) {
    for (const key of selection) {
      this.keys.add(key);
      this.keys.add(withoutPlace(key));
      const range = /^(\w+):(\d+)-(\d+)$/.exec(key);
      if (range) this.ranges.push({ kind: range[1] ?? "", low: Number(range[2]), high: Number(range[3]) });
    }
  }

  has(key: string): boolean {
    if (!key) return false;
    if (this.keys.has(key)) return true;
    return this.ranges.some(({ kind, low, high }) => {
      const number = numberOf(key);
      return kindOf(key) === kind && number !== null && number >= low && number <= high;
    });
  }
}

/** What a mark's look depends on besides its data; when it is the same as before, there is nothing to paint. */
export function stateOf(context: Context, hover = false): string {
  return `${context.theme} ${context.selection.join("+")}|${context.against.join("+")} ${hover ? context.hovered : ""}`;
}

/** The kind of a key: the word before its colon. */
export function kindOf(key: string): string {
  return key.slice(0, Math.max(0, key.indexOf(":")));
}

/** The number of an example, class, step or token; null for other keys. */
export function numberOf(key: string): number | null {
  const match = /^(?:example|class|step|token):(\d+)$/.exec(key);
  return match ? Number(match[1]) : null;
}

function withoutPlace(key: string): string {
  const at = key.lastIndexOf("@");
  return at < 0 ? key : key.slice(0, at);
}

/** How a click or key press chooses: plainly one, with Ctrl or ⌘ one more or less, with Shift a range, with Alt or ⌥ against it, with both one more against it. */
export function howOf(event: MouseEvent | KeyboardEvent): How {
  return event.altKey ? (event.ctrlKey || event.metaKey || event.shiftKey ? "against too" : "against") : event.shiftKey ? "range" : event.ctrlKey || event.metaKey ? "toggle" : "one";
}
