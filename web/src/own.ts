// A context for a picture that no page looks after: it keeps its own selection, and follows the system's light or dark.

import type { Theme } from "./colour.ts";
import type { Context, How, Value } from "./marks/index.ts";

/** What the outside is told; a picture in a file has nobody to tell. */
export interface Outside {
  selected?(keys: readonly string[]): void;
  set?(knob: string, value: Value, moving: boolean): void;
  act?(command: string, knobs: Readonly<Record<string, Value>>): void;
  step?(step: number): void;
}

export class OwnContext implements Context {
  selection: readonly string[] = [];
  against: readonly string[] = [];
  hovered: string | null = null;
  theme: Theme;
  classes: readonly string[] = [];
  /** Called after a change; draw again what is shown. */
  changed: () => void = () => {};
  private readonly outside: Outside;

  constructor(theme: Theme, outside: Outside = {}) {
    this.theme = theme;
    this.outside = outside;
  }

  get fixed(): boolean {
    return !this.outside.set;
  }

  select(keys: string[], how: How): void {
    if (how === "against") {
      this.against = choose(this.against, keys, "one");
      this.changed();
      return;
    }
    this.selection = choose(this.selection, keys, how);
    this.outside.selected?.(this.selection);
    this.changed();
  }

  hover(key: string | null): void {
    this.hovered = key;
    this.changed();
  }

  set(knob: string, value: Value, moving = false): void {
    this.outside.set?.(knob, value, moving);
  }

  act(command: string, knobs: Readonly<Record<string, Value>>): void {
    this.outside.act?.(command, knobs);
  }

  step(step: number): void {
    this.outside.step?.(step);
  }
}

/** The selection after a click: one key instead of the others of its kind, one more or less, or a whole range. */
export function choose(selection: readonly string[], keys: readonly string[], how: How): string[] {
  const kinds = new Set(keys.map((key) => key.split(":")[0]));
  if (how === "toggle") {
    const gone = keys.filter((key) => selection.includes(key));
    return [...selection.filter((key) => !gone.includes(key)), ...keys.filter((key) => !gone.includes(key))];
  }
  const others = selection.filter((key) => !kinds.has(key.split(":")[0] ?? ""));
  // Choosing the only chosen one again lets go of it.
  if (how === "one" && keys.length === 1 && selection.length === others.length + 1 && selection.includes(keys[0] ?? "")) return others;
  return [...others, ...keys];
}

/** Whether the system asks for dark, and a call when that changes. */
export function followTheme(set: (theme: Theme) => void): Theme {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  dark.addEventListener("change", () => set(dark.matches ? "dark" : "light"));
  return dark.matches ? "dark" : "light";
}
