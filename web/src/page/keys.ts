/** The keys of the page, everywhere but in fields where one types. */

import type { RunState } from "../protocol.ts";
import { partOf } from "./parts.ts";
import { page } from "./store.svelte.ts";

export const KEYS: readonly (readonly [string, string])[] = [
  ["← →", "one snapshot back or on"],
  ["Shift ← →", "ten snapshots"],
  ["Space", "play over the training, or stop"],
  ["L", "the live end"],
  ["P", "pause or resume the training"],
  ["1 … 9", "the rooms, in order"],
  ["C", "the catalogue"],
  ["V", "switch between this training and this input"],
  ["[ ]", "the example before, the next one"],
  ["M", "fold the network map"],
  ["I", "fold the inspector"],
  ["T", "fold the input tray"],
  ["Tab, arrows, Enter", "walk through a picture, choose a part; Ctrl one more, Shift a range"],
  ["+ − 0", "nearer, farther, the whole: of curves and points"],
  ["Shift arrows", "move the cross of a plane, turn or shift points, draw on the pad"],
  ["Alt click, Alt Enter", "choose what to compare with: a 7 rather than a 2"],
  ["G", "the next choice of what the view under the pointer shows; with Shift the one before"],
  ["E", "edit the input: paint, shift, warp"],
  ["Esc", "close what floats, leave an enlarged view, choose nothing"],
  ["?", "these keys"],
];

export interface Panels {
  map(): void;
  inspector(): void;
  tray(): void;
}

/** Handle a key press; marks and controls that use the key themselves have stopped it before. */
export function press(event: KeyboardEvent, panels: Panels): void {
  if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return;
  const target = event.target as Element;
  if (event.key === "Escape") return escape(target);
  if (target.closest("input, select, textarea, [contenteditable]")) return;
  // What Space does to a control is the control's own.
  if (event.key === " " && target.closest("button, a, summary, [role=option]")) return;
  if (choice(event.key, target)) return event.preventDefault();
  if (act(event, panels)) event.preventDefault();
}

/** Within a group of choices the arrows go from one to the next, and take it. */
function choice(key: string, target: Element): boolean {
  const group = target.closest("[role=radio]")?.closest("[role=radiogroup]");
  const way = key === "ArrowRight" || key === "ArrowDown" ? 1 : key === "ArrowLeft" || key === "ArrowUp" ? -1 : 0;
  if (!group || !way) return false;
  const choices = [...group.querySelectorAll<HTMLElement>("[role=radio]")];
  const next = choices[(choices.findIndex((one) => one.contains(target)) + way + choices.length) % choices.length];
  next?.click();
  next?.focus();
  return true;
}

function escape(target: Element): void {
  // What floats closes itself.
  if (document.querySelector("[popover=auto]:popover-open")) return;
  if (target instanceof HTMLElement && target.matches("input, textarea, select")) target.blur();
  else if (page.address.view) page.go({ view: "" }, { remember: true });
  else page.clearSelection();
}

function act(event: KeyboardEvent, panels: Panels): boolean {
  const { key } = event;
  const far = event.shiftKey ? 10 : 1;
  if (key === "ArrowLeft") page.time.move(-far);
  else if (key === "ArrowRight") page.time.move(far);
  else if (key === " ") page.time.play();
  else if (key === "[") example(-1);
  else if (key === "]") example(1);
  else if (key === "?") document.querySelector<HTMLElement>("button:has([data-keys])")?.click();
  else if (key >= "1" && key <= "9") {
    const room = page.rooms[Number(key) - 1];
    if (room) page.openRoom(room.name);
  } else return letter(key.toLowerCase(), event, panels);
  return true;
}

function letter(key: string, event: KeyboardEvent, panels: Panels): boolean {
  const { state } = page;
  if (key === "l") page.time.goLive();
  else if (key === "p" && state?.alive) void page.command(state.paused ? "resume" : "pause");
  else if (key === "c") page.openRoom("catalogue");
  else if (key === "v") page.go({ mode: page.mode === "training" ? "input" : "" });
  else if (key === "m") panels.map();
  else if (key === "i") panels.inspector();
  else if (key === "t") panels.tray();
  else if (key === "g") turn(event.shiftKey ? -1 : 1);
  else if (key === "e" && editable(state)) page.editing = !page.editing;
  else return false;
  return true;
}

/** Let the view under the pointer, else the one with the focus, else the first that can, show its next choice. */
function turn(by: number): void {
  const ways = ["article[data-turns]:hover", "article[data-turns]:focus-within", "article[data-turns]"];
  const card = ways.map((way) => document.querySelector(way)).find((found) => found !== null);
  card?.dispatchEvent(new CustomEvent("turn", { detail: by }));
}

/** Whether inputs are pictures whose pixels can be painted on one by one. */
export function editable(state: RunState | null): boolean {
  const picture = partOf(state?.input ?? {}, "image")?.kind;
  return picture?.channels === 1 || picture?.channels === 3;
}

function example(by: number): void {
  const count = page.state?.examples ?? 0;
  if (!count) return;
  const now = page.chosen("example");
  const number = now ? Number(/\d+/.exec(now)?.[0] ?? 0) : -by * (by > 0 ? 1 : 0);
  const next = (number + by + count) % count;
  if (`example:${next}` !== now) page.select([`example:${next}`]);
}
