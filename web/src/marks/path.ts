// Lines drawn by hand over a plane, by pointer or keys: "x,y;x,y;…" in the plane's own numbers, at most 64 places each. Where a handle
// takes one line, a new one stands for it; where it takes strokes, it is added, with | where the pen was lifted.

import type { Handle } from "../types.ts";
import { ARROWS } from "./arrows.ts";
import type { Scale } from "./axis.ts";
import type { Context } from "./context.ts";
import { make, setAttribute, setText, svg } from "./elements.ts";

type Point = readonly [number, number];

export interface Path {
  update(handle: Handle | null): void;
  destroy(): void;
}

const MOST = 64;
const STROKES = 16;
const APART = 2; // CSS pixels between two places of a stroke
const CLICK = 6; // a shorter stroke is a click

/** Lay a pad over a plane that takes strokes while the mark has a handle of this kind. */
export function pathOn(surface: HTMLElement, context: Context, plane: () => { x: Scale; y: Scale }): Path {
  const pad = make("div", "path-pad");
  const sheet = svg("svg", { class: "path-sheet", "aria-hidden": "true" });
  const [under, line, start, end, here] = [
    svg("path", { class: "path-under" }), svg("path", { class: "path-line" }),
    svg("circle", { class: "path-start", r: 3.5 }), svg("circle", { class: "path-end", r: 3.5 }), svg("circle", { class: "path-here", r: 5 }),
  ];
  const away = make("button", "link path-away", "clear");
  away.type = "button";
  sheet.append(under, line, start, end, here);
  pad.append(sheet, away);
  pad.setAttribute("role", "application");
  pad.hidden = true;
  surface.append(pad);
  const stop = new AbortController();
  const listen = { signal: stop.signal };
  let handle: Handle | null = null;
  let lines: Point[][] = []; // in the plane's own numbers
  let lifted = false; // the next place that is set by a key begins another stroke
  let stroke: Point[] | null = null; // on the screen, while it is drawn
  let cursor: Point | null = null;
  let drawn = false;
  let sent: string | null = null;

  const several = (): boolean => handle?.kind === "strokes";
  const last = (): Point[] => lines.at(-1) ?? [];
  const free = (): boolean => handle !== null && !context.fixed;
  const onScreen = ([x, y]: Point): Point => [plane().x.at(x) - plane().x.from, plane().y.at(y) - plane().y.to];
  const inPlane = ([x, y]: Point): Point => [plane().x.value(x + plane().x.from), plane().y.value(y + plane().y.to)];
  const sides = (): Point => [plane().x.to - plane().x.from, plane().y.from - plane().y.to];
  const within = ([x, y]: Point): Point => [Math.max(0, Math.min(sides()[0], x)), Math.max(0, Math.min(sides()[1], y))];

  function place(event: PointerEvent): Point {
    const box = pad.getBoundingClientRect();
    return within([event.clientX - box.left, event.clientY - box.top]);
  }

  function send(next: Point[][]): void {
    lines = next.filter((one) => one.length);
    lifted = false;
    sent = strokesText(lines);
    show();
    if (handle) context.set(handle.knob, sent);
  }

  function show(): void {
    const old = stroke && !several() ? [] : lines.map((one) => one.map(onScreen));
    const shown = stroke ? [...old, stroke] : old;
    const text = shown.map((one) => `M${one.map(([x, y]) => `${x.toFixed(1)},${y.toFixed(1)}`).join("L")}`).join("");
    for (const part of [under, line]) part.setAttribute("d", text);
    for (const [dot, at] of [[start, shown[0]?.[0]], [end, shown.at(-1)?.at(-1)], [here, cursor]] as const) {
      dot!.toggleAttribute("hidden", !at);
      if (at) [dot!.setAttribute("cx", String(at[0])), dot!.setAttribute("cy", String(at[1]))];
    }
    away.hidden = !lines.length || stroke !== null || !free();
  }

  pad.addEventListener("pointerdown", (event) => {
    drawn = false;
    if (!free() || event.button !== 0 || event.target === away) return;
    pad.setPointerCapture(event.pointerId);
    stroke = [place(event)];
    cursor = null;
  }, listen);
  pad.addEventListener("pointermove", (event) => {
    if (!stroke) return;
    const next = place(event);
    const before = stroke.at(-1)!;
    if (Math.hypot(next[0] - before[0], next[1] - before[1]) < APART) return;
    stroke.push(next);
    if (pathLength(stroke) > CLICK) show();
  }, listen);
  pad.addEventListener("pointerup", () => {
    const done = stroke;
    stroke = null;
    drawn = done !== null && pathLength(done) > CLICK;
    if (drawn && done) send([...(several() ? lines.slice(0, STROKES - 1) : []), evenly(done, MOST).map(inPlane)]);
    else show();
  }, listen);
  pad.addEventListener("pointercancel", () => {
    stroke = null;
    show();
  }, listen);
  // A stroke ends where it ends: it does not choose the point that lies there.
  pad.addEventListener("click", (event) => {
    if (drawn || event.target === away) event.stopPropagation();
  }, listen);
  away.addEventListener("click", () => send([]), listen);
  pad.addEventListener("keydown", (event) => {
    if (!free() || event.target !== pad || event.ctrlKey || event.metaKey || event.altKey) return;
    if (!key(event)) return;
    event.preventDefault();
    event.stopPropagation();
  }, listen);
  pad.addEventListener("blur", () => {
    cursor = null;
    show();
  }, listen);

  function key(event: KeyboardEvent): boolean {
    const way = ARROWS[event.key];
    const [wide, tall] = sides();
    if (way) {
      const from = cursor ?? (lines.length ? onScreen(last().at(-1)!) : [wide / 2, tall / 2]);
      const by = event.shiftKey ? 32 : 8;
      cursor = within([from[0] + by * way[0], from[1] + by * way[1]]);
      setAttribute(pad, "aria-valuetext", inPlane(cursor).map((value) => Number(value.toPrecision(3))).join(", "));
      show();
    } else if (event.key === "Enter" || event.key === " ") {
      cursor ??= [wide / 2, tall / 2];
      if (lifted && lines.length < STROKES) send([...lines, [inPlane(cursor)]]);
      else if (last().length < MOST) send([...lines.slice(0, -1), [...last(), inPlane(cursor)]]);
    } else if (event.key === "|" && several() && lines.length) lifted = true;
    else if (event.key === "Backspace" && lines.length) send([...lines.slice(0, -1), last().slice(0, -1)]);
    else if (event.key === "Escape" && (lines.length || stroke)) {
      stroke = null;
      send([]);
    } else return false;
    return true;
  }

  return {
    update(next) {
      handle = next?.kind === "path" || next?.kind === "strokes" ? next : null;
      pad.hidden = !handle;
      if (!handle) return;
      const [wide, tall] = sides();
      pad.style.left = `${plane().x.from}px`;
      pad.style.top = `${plane().y.to}px`;
      pad.style.width = `${wide}px`;
      pad.style.height = `${tall}px`;
      pad.tabIndex = free() ? 0 : -1;
      pad.classList.toggle("free", free());
      const name = handle.knob.replaceAll("_", " ");
      pad.setAttribute("aria-label", `${name}: draw ${several() ? "lines, one after the other," : "a line"} over the plane; or arrows move, Enter adds a place, ${several() ? "| lifts the pen, " : ""}Backspace takes one away, Escape clears`);
      setText(away, "clear");
      if (sent === null || sent === handle.value) {
        lines = readStrokes(handle.value);
        sent = null;
      }
      show();
    },
    destroy() {
      stop.abort();
      pad.remove();
    },
  };
}

/** The places of a path from its text; what is no pair of numbers is left out. */
export function readPath(text: string): Point[] {
  return text.split(";").map((part) => part.split(",").map(Number))
    .filter((pair) => pair.length === 2 && pair.every(Number.isFinite)).map(([x, y]) => [x!, y!] as const);
}

/** The lines of strokes from their text. */
export function readStrokes(text: string): Point[][] {
  return text.split("|").map(readPath).filter((one) => one.length);
}

export function strokesText(lines: readonly (readonly Point[])[]): string {
  return lines.map(pathText).join("|");
}

export function pathText(points: readonly Point[]): string {
  return points.map((point) => point.map((value) => Number(value.toPrecision(4))).join(",")).join(";");
}

function pathLength(points: readonly Point[]): number {
  let sum = 0;
  for (let i = 1; i < points.length; i++) sum += Math.hypot(points[i]![0] - points[i - 1]![0], points[i]![1] - points[i - 1]![1]);
  return sum;
}

/** The same line by at most so many places, evenly far apart along it. */
export function evenly(points: readonly Point[], most: number): Point[] {
  const whole = pathLength(points);
  const count = Math.max(2, Math.min(most, Math.ceil(whole / 8)));
  const found: Point[] = [points[0]!];
  let walked = 0;
  let at = 1;
  for (let i = 1; i < count - 1; i++) {
    const wanted = (whole * i) / (count - 1);
    let piece = Math.hypot(points[at]![0] - points[at - 1]![0], points[at]![1] - points[at - 1]![1]);
    while (walked + piece < wanted && at < points.length - 1) {
      walked += piece;
      at++;
      piece = Math.hypot(points[at]![0] - points[at - 1]![0], points[at]![1] - points[at - 1]![1]);
    }
    const share = piece ? Math.min(1, (wanted - walked) / piece) : 0;
    const [from, to] = [points[at - 1]!, points[at]!];
    found.push([from[0] + (to[0] - from[0]) * share, from[1] + (to[1] - from[1]) * share]);
  }
  found.push(points.at(-1)!);
  return found;
}
