// Points on a plane or in space: a loop drawn round them chooses them, wheel and keys come nearer, space is turned by dragging.

import { classColour, type Theme } from "../colour.ts";
import { row } from "../picture.ts";
import type { Scatter } from "../types.ts";
import { ARROWS } from "./arrows.ts";
import { paintImage } from "./cells.ts";
import { howOf, stateOf } from "./context.ts";
import { make, setText, svg } from "./elements.ts";
import { counted, format, withUnit } from "./format.ts";
import type { Draw } from "./half.ts";
import { head } from "./head.ts";
import { hits, type Hit } from "./hits.ts";
import { MOVED } from "./joins.ts";
import { keyed } from "./keyed.ts";
import { Cloud } from "./scattergl.ts";
import { Glide } from "./scatterglide.ts";
import { paint, shadesOf, sumOf, type Shades } from "./scatterpaint.ts";
import { FIRST, chosenBy, keyOf, keysOf, nearer, nearestTo, onGrid, cellOf, placed, pointOf, towards, within, type Look, type Placed, type Point } from "./scatterplan.ts";
import { inks, sheet } from "./sheet.ts";

const CLICK = 6; // a shorter stroke is a click
const REACH = 9;
const REST = 180; // milliseconds after the last move, when all is drawn again
const FOOT = 24;
/** So much width beside the points takes what stands below them, as the style sheet has it. */
export const ASIDE = 112 + 12;
/** So many chosen points are followed from map to map; lines of more would hide the maps. */
const FOLLOWED = 24;
/** The names of more classes would fill the picture's place: the pointer tells them. */
const LISTED = 24;

type Hand = "lasso" | "brush" | "move" | "lens";

export const draw: Draw<Scatter> = (element, first, context) => {
  const frame = head(element, "scatter", context);
  const tools = make("div", "scatter-tools");
  const buttons = (["lasso", "brush", "move", "lens"] as const).map((name) => {
    const button = make("button", "link scatter-tool", name);
    button.type = "button";
    button.addEventListener("click", () => take(name));
    return [name, button] as const;
  });
  const whole = make("button", "link scatter-whole", "whole");
  whole.type = "button";
  whole.addEventListener("click", () => {
    if (hand === "lens") take(isSpace(mark) ? "move" : "lasso");
    see(FIRST);
  });
  const said = make("span", "scatter-said");
  /** Below the points; beside them where the place is wide. */
  const aside = make("div", "scatter-aside");
  tools.append(...buttons.map(([, button]) => button), whole, said);
  const names = make("div", "scatter-classes");
  const scratch = document.createElement("canvas");
  const thumbnail = make("canvas", "tip-picture");
  let mark = first;
  let look = FIRST;
  let plan: Placed = { side: 1, at: new Float32Array(), depth: new Float32Array() };
  let shades: { theme: Theme; mark: Scatter; found: Shades } | null = null;
  let drawn = "";
  let moving = false;
  let hand: Hand = isSpace(mark) ? "move" : "lasso";
  let stroke: Point[] | null = null;
  let turned: { look: Look; x: number; y: number } | null = null;
  let rest: ReturnType<typeof setTimeout> | undefined;
  const cloud: Cloud = new Cloud(() => surface.element, () => surface.paint());
  const glide: Glide = new Glide(() => surface.paint());

  const surface = sheet(frame.body, (width) => Math.min(mark.size, width), (pen, width) => {
    const ink = inks(element, context.theme);
    const side = Math.max(40, Math.min(mark.size, width));
    plan = placed(mark, glide.at(mark), mark.points.shape[1] ?? 2, look, side);
    if (shades?.theme !== context.theme || shades.mark !== mark) shades = { theme: context.theme, mark, found: shadesOf(mark, context.theme, ink) };
    const painted = paint(pen, { mark, plan, look, shades: shades.found, moving, cloud }, context, ink, scratch);
    const marked = sumOf(chosenBy(mark, context.selection));
    element.dispatchEvent(new CustomEvent(MOVED, { bubbles: true }));
    setText(said, [marked ? `${marked.toLocaleString("en-US")} chosen` : "", painted].filter(Boolean).join(" · "));
  });
  aside.append(tools, names);
  frame.body.append(aside);
  const loop = svg("svg", { class: "scatter-loop", "aria-hidden": "true" });
  const line = svg("polygon", {});
  loop.append(line);
  surface.element.append(loop);
  const classKeys = keyed(names, context, { role: "option" });
  names.setAttribute("role", "listbox");
  names.setAttribute("aria-label", "classes");
  names.setAttribute("aria-multiselectable", "true");

  const touch = hits(surface.element, context, {
    at: (x, y) => (stroke || turned ? null : hitAt([x, y])),
    from(current, dx, dy) {
      if (!plan.at.length) return null;
      const at = current ? Math.min(Number(current.id), plan.at.length / 2 - 1) : Math.max(0, nearestTo(plan, [plan.side / 2, plan.side / 2], Infinity));
      const next = dx || dy ? towards(plan, at, dx, dy) : at;
      if (hand === "lens" && (dx || dy)) follow(next);
      return hit(next);
    },
    between: (from, to) => keysOf(mark, within(plan, loopOf([[from.x, from.y], [to.x + to.width, to.y + to.height]], "brush"))),
  });

  function hitAt(at: Point): Hit | null {
    if (mark.drawn === "thumbnails") {
      const [wide, high] = cellOf(mark);
      for (const [i, [x, y]] of onGrid(plan, [wide, high])) if (at[0] >= x && at[0] < x + wide && at[1] >= y && at[1] < y + high) return hit(i);
      return null;
    }
    const found = nearestTo(plan, at, REACH);
    return found < 0 ? null : hit(found);
  }

  /** Lay the lens over a point, where it lies without one. */
  function follow(i: number): void {
    const stride = mark.points.shape[1] ?? 2;
    const plain = placed(mark, mark.points.data.slice(i * stride, (i + 1) * stride), stride, { ...look, lens: null }, plan.side).at;
    see({ ...look, lens: [(plain[0] as number) / plan.side, (plain[1] as number) / plan.side] });
  }

  function hit(i: number): Hit {
    const key = keyOf(mark, i);
    const [x, y] = [plan.at[2 * i] as number, plan.at[2 * i + 1] as number];
    let picture: HTMLCanvasElement | undefined;
    if (mark.pictures) {
      paintImage(thumbnail, row(mark.pictures, i), mark.picture_limits, context.theme);
      picture = thumbnail;
    }
    return { id: String(i), keys: key ? [key] : [], lines: linesOf(mark, i), x: x - 6, y: y - 6, width: 12, height: 12, round: true, ...(picture ? { picture } : {}) };
  }

  function take(next: Hand): void {
    hand = next;
    for (const [name, button] of buttons) button.setAttribute("aria-pressed", String(name === hand));
    surface.element.dataset["hand"] = hand;
    if (hand === "lens" || look.lens) see({ ...look, lens: hand === "lens" ? [0.5, 0.5] : null });
  }

  function see(next: Look): void {
    look = isFirst(next) ? FIRST : next;
    moving = look !== FIRST;
    whole.hidden = look === FIRST;
    surface.paint();
    clearTimeout(rest);
    if (moving) rest = setTimeout(() => [(moving = false), surface.paint()], REST);
  }

  const stop = new AbortController();
  const listen = { signal: stop.signal };
  const here = (event: MouseEvent): Point => {
    const box = surface.element.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  };
  surface.element.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    const [x, y] = here(event);
    if (x > plan.side || y > plan.side) return;
    surface.element.setPointerCapture(event.pointerId);
    if (hand === "move") turned = { look, x, y };
    else if (hand !== "lens") stroke = [[x, y]];
  }, listen);
  surface.element.addEventListener("pointermove", (event) => {
    const [x, y] = here(event);
    if (turned) {
      const by = 2 / (plan.side * turned.look.zoom);
      see(isSpace(mark) && !event.shiftKey
        ? { ...look, azimuth: turned.look.azimuth + (x - turned.x) / 120, elevation: Math.max(-1.5, Math.min(1.5, turned.look.elevation + (y - turned.y) / 120)) }
        : { ...look, x: turned.look.x - (x - turned.x) * by, y: turned.look.y + (y - turned.y) * by });
    }
    if (hand === "lens" && x <= plan.side && y <= plan.side) see({ ...look, lens: [x / plan.side, y / plan.side] });
    if (!stroke) return;
    stroke = hand === "brush" ? [stroke[0] as Point, [x, y]] : [...stroke, [x, y]];
    line.setAttribute("points", far(stroke) > CLICK ? loopOf(stroke, hand).map((at) => at.join(",")).join(" ") : "");
  }, listen);
  let strayed = false;
  surface.element.addEventListener("pointerup", (event) => {
    const [done, before] = [stroke, turned];
    [stroke, turned] = [null, null];
    line.setAttribute("points", "");
    const [x, y] = here(event);
    strayed = done ? far(done) > CLICK : before !== null && Math.hypot(x - before.x, y - before.y) > CLICK;
    if (!done || !strayed) return;
    const found = keysOf(mark, within(plan, loopOf(done, hand)));
    const how = howOf(event);
    if (found.length) context.select(found, how === "range" ? "toggle" : how);
  }, listen);
  surface.element.addEventListener("pointercancel", () => {
    [stroke, turned] = [null, null];
    line.setAttribute("points", "");
  }, listen);
  // A stroke ends where it ends: it does not choose the point that lies there.
  surface.element.addEventListener("click", (event) => {
    if (strayed) event.stopImmediatePropagation();
    strayed = false;
  }, { ...listen, capture: true });
  surface.element.addEventListener("wheel", (event) => {
    if (!event.ctrlKey && !event.metaKey) return; // the page scrolls
    event.preventDefault();
    see(nearer(look, plan.side, here(event), Math.exp(-event.deltaY / 300)));
  }, { ...listen, passive: false });
  surface.element.addEventListener("dblclick", () => see(look.lens ? { ...FIRST, lens: look.lens } : FIRST), listen);
  surface.element.addEventListener("keydown", (event) => {
    const middle: Point = [plan.side / 2, plan.side / 2];
    const way = event.shiftKey && hand === "move" ? ARROWS[event.key] : undefined;
    if (way) see(isSpace(mark) ? { ...look, azimuth: look.azimuth + way[0] / 8, elevation: Math.max(-1.5, Math.min(1.5, look.elevation + way[1] / 8)) } : { ...look, x: look.x - way[0] / (8 * look.zoom), y: look.y + way[1] / (8 * look.zoom) });
    else if (event.key === "+" || event.key === "=") see(nearer(look, plan.side, middle, 1.4));
    else if (event.key === "-") see(nearer(look, plan.side, middle, 1 / 1.4));
    else if (event.key === "0") see(FIRST);
    else return;
    event.preventDefault();
    event.stopPropagation();
  }, { ...listen, capture: true });

  function show(): void {
    frame.update(mark, mark.limits, context.theme);
    const listed = mark.limits || mark.classes.length > LISTED ? [] : mark.classes;
    names.hidden = !listed.length;
    const parts = listed.map((name, i) => {
      const part = make("span", "scatter-class", name);
      part.style.setProperty("--dot", classColour(i));
      return part;
    });
    names.replaceChildren(...parts);
    classKeys.set(parts, listed.map((name, i) => ({ keys: listed.length > 1 ? [`class:${i}`] : [], describe: () => [name] })));
    drawn = stateOf(context, true);
    surface.element.style.flexBasis = `${mark.size}px`;
    surface.paint();
    const count = mark.points.shape[0] ?? 0;
    touch.reset(`${mark.title || "points"}: ${counted(count, "point")}${wrongIn(mark)}; arrow keys read them${isSpace(mark) ? ", with Shift they turn the space" : ""}, plus and minus come nearer, Shift and Enter chooses all from the last one to this, a loop drawn round them chooses them`);
  }

  take(hand);
  whole.hidden = true;
  show();
  return {
    update(next) {
      if (isSpace(next) !== isSpace(mark)) take(isSpace(next) ? "move" : "lasso");
      glide.go(mark, next);
      mark = next;
      show();
    },
    refresh() {
      classKeys.refresh();
      if (stateOf(context, true) === drawn) return;
      drawn = stateOf(context, true);
      frame.update(mark, mark.limits, context.theme);
      surface.paint();
    },
    spots() {
      const found = new Map<string, readonly [number, number]>();
      const chosen = chosenBy(mark, context.selection);
      const all = sumOf(chosen);
      const hovered = pointOf(mark, context.hovered);
      if (mark.drawn === "thumbnails" || (!all && hovered < 0)) return found;
      const { left, top } = surface.element.getBoundingClientRect();
      const add = (i: number): void => {
        const [x, y] = [plan.at[2 * i] as number, plan.at[2 * i + 1] as number];
        if (x >= 0 && y >= 0 && x <= plan.side && y <= plan.side) found.set(keyOf(mark, i), [left + x, top + y]);
      };
      for (let i = 0; all <= FOLLOWED && i < chosen.length; i++) if (chosen[i]) add(i);
      if (hovered >= 0) add(hovered);
      return found;
    },
    destroy() {
      clearTimeout(rest);
      glide.stop();
      stop.abort();
      cloud.destroy();
      touch.destroy();
      classKeys.destroy();
      surface.destroy();
      element.replaceChildren();
    },
  };
};

function isFirst(look: Look): boolean {
  return (Object.keys(FIRST) as (keyof Look)[]).every((name) => look[name] === FIRST[name]);
}

function isSpace(mark: Scatter): boolean {
  return mark.points.shape[1] === 3;
}

function wrongIn(mark: Scatter): string {
  const wrong = mark.wrong?.data;
  let sum = 0;
  for (let i = 0; wrong && i < wrong.length; i++) sum += wrong[i] ? 1 : 0;
  return sum ? `, ${sum} wrong` : "";
}

function linesOf(mark: Scatter, i: number): string[] {
  const key = keyOf(mark, i);
  const value = mark.values?.data[i] as number | undefined;
  const name = value === undefined ? "" : mark.limits ? withUnit(value, mark.limits.unit) : (mark.classes[value] ?? "");
  const stride = mark.points.shape[1] ?? 2;
  const at = Array.from({ length: stride }, (_, k) => format(mark.points.data[i * stride + k] as number)).join(", ");
  return [
    [key ? key.replace(":", " ") : `point ${i}`, name, mark.wrong?.data[i] ? "wrong" : "", mark.faded?.data[i] ? mark.pale : ""].filter(Boolean).join(" · "),
    mark.labels[i] ?? "", `at ${at}`,
  ];
}

function far(stroke: readonly Point[]): number {
  const [x, y] = stroke[0] as Point;
  return Math.max(...stroke.map(([a, b]) => Math.hypot(a - x, b - y)));
}

/** What a stroke holds: the loop itself, or the rectangle between its ends. */
function loopOf(stroke: readonly Point[], hand: Hand): Point[] {
  if (hand !== "brush") return [...stroke];
  const [[a, b], [c, d]] = [stroke[0] as Point, stroke.at(-1) as Point];
  return [[a, b], [c, b], [c, d], [a, d]];
}

export function height(mark: Scatter, width: number, factor: number): number {
  const side = Math.min(mark.size * factor, width);
  return side + ASIDE <= width ? side : side + FOOT + (mark.classes.length && !mark.limits ? 22 : 0);
}

export function width(mark: Scatter, factor: number): number {
  return mark.size * factor;
}

export function scaled(mark: Scatter, factor: number): Scatter {
  return { ...mark, size: Math.max(120, Math.round(mark.size * factor)) };
}
