// A plane of outputs with points on it: regions by class, as strong as they are certain, or numbers through a scale.

import { classColour, css, lut, pack, place, rgb, type Theme } from "../colour.ts";
import { INFINITE, PAPERS, type Field } from "../types.ts";
import { ARROWS } from "./arrows.ts";
import { Scale, tickText } from "./axis.ts";
import { context2d } from "./cells.ts";
import { Chosen, stateOf, type Context } from "./context.ts";
import { make } from "./elements.ts";
import { counted, format, percent, withUnit } from "./format.ts";
import type { Draw } from "./half.ts";
import { head } from "./head.ts";
import { hits, type Hit } from "./hits.ts";
import { pathOn } from "./path.ts";
import { face, fit, inks, sheet, type Ink } from "./sheet.ts";

const LEFT = 34;
const FOOT = 20;
const LINE = 13;
/** A letter of a title is so wide at most. */
const LETTER = 6.4;
const RADIUS = 3.5;
/** A pointer that moves by less clicks. */
const DRAG = 4;
/** So many pixels an arrow key goes. */
const STRIDE = 8;
/** So long, in ms, pictures of other places may come after the cross was dragged. */
const HELD = 3000;
const SMALL = 1.75;
/** What is left of the colours where a plane says little; on paper alike. */
const PALE = 0.35;

interface Plan {
  x: Scale;
  y: Scale;
  /** How many lines the titles of the axes take. */
  below: number;
  beside: number;
  width: number;
}

export const draw: Draw<Field> = (element, first, context) => {
  const frame = head(element, "field", context);
  let mark = first;
  let plan: Plan = { x: new Scale([0, 1], [0, 1]), y: new Scale([0, 1], [1, 0]), below: 1, beside: 1, width: 0 };
  const plate = make("canvas");
  let plated = "";
  let drawn = "";
  let borders: Float32Array = new Float32Array();
  let pressed: { x: number; y: number } | null = null;
  let dragged: string | null = null;
  let heldUntil = 0;
  const surface = sheet(frame.body, (width) => {
    plan = arrange(mark, width);
    return plan.y.from + FOOT + (mark.x_title ? LINE * plan.below : 0);
  }, (pen) => {
    if (plated !== context.theme) {
      paintPlate(plate, mark, context.theme);
      borders = bordersOf(mark);
    }
    plated = context.theme;
    paint(pen, plate, borders, plan, mark, context, inks(element, context.theme), dragged);
    path.update(mark.handle);
  });
  const path = pathOn(surface.element, context, () => plan);
  const touch = hits(surface.element, context, {
    at: (x, y) => pointAt(mark, plan, x, y) ?? settable(planeAt(mark, plan, x, y), x, y),
    from(current, dx, dy) {
      const count = mark.points?.shape[0] ?? 0;
      if (!count) {
        const [x, y] = current ? [current.x, current.y] : [(plan.x.from + plan.x.to) / 2, (plan.y.from + plan.y.to) / 2];
        const [across, down] = [clamped(x + STRIDE * dx, plan.x.from, plan.x.to - 1), clamped(y + STRIDE * dy, plan.y.to + 1, plan.y.from)];
        return settable(planeAt(mark, plan, across, down), across, down);
      }
      const at = current ? Math.min(Number(current.id), count - 1) : 0;
      return point(mark, plan, dx || dy ? towards(mark, plan, at, dx, dy) : at);
    },
  });

  const stop = new AbortController();
  const listen = { signal: stop.signal };
  const knobOf = (): string | null => (mark.handle?.kind === "point" && !context.fixed ? mark.handle.knob : null);
  const textAt = (x: number, y: number): string =>
    [plan.x.value(x), plan.y.value(y)].map((value) => Number(value.toPrecision(6))).join(",");

  /** A plane with a point handle takes a click anywhere. */
  function settable(hit: Hit | null, x: number, y: number): Hit | null {
    const knob = knobOf();
    return hit && knob ? { ...hit, act: () => context.set(knob, textAt(x, y)) } : hit;
  }

  // By keyboard the cross is moved with Shift, since the arrows alone read the points.
  surface.element.addEventListener("keydown", (event) => {
    const [knob, way] = [knobOf(), event.shiftKey ? ARROWS[event.key] : undefined];
    if (!knob || !way) return;
    event.preventDefault();
    event.stopPropagation();
    const [a, b] = (dragged ?? mark.handle?.value ?? "").split(",").map(Number);
    const [x, y] = Number.isFinite(a) && Number.isFinite(b) ? [plan.x.at(a as number), plan.y.at(b as number)] : [(plan.x.from + plan.x.to) / 2, (plan.y.from + plan.y.to) / 2];
    dragged = textAt(clamped(x + STRIDE * way[0], plan.x.from, plan.x.to), clamped(y + STRIDE * way[1], plan.y.to, plan.y.from));
    heldUntil = performance.now() + HELD;
    context.set(knob, dragged);
    surface.paint();
  }, { ...listen, capture: true });

  // Or its cross is dragged: it goes along at once, the pictures follow.
  function drag(event: PointerEvent, moving: boolean): void {
    const knob = knobOf();
    const box = surface.element.getBoundingClientRect();
    const [x, y] = [event.clientX - box.left, event.clientY - box.top];
    if (!pressed || !knob || (dragged === null && Math.hypot(x - pressed.x, y - pressed.y) < DRAG)) return;
    const [left, right] = [Math.min(plan.x.from, plan.x.to), Math.max(plan.x.from, plan.x.to)];
    const [top, bottom] = [Math.min(plan.y.from, plan.y.to), Math.max(plan.y.from, plan.y.to)];
    dragged = textAt(Math.max(left, Math.min(right, x)), Math.max(top, Math.min(bottom, y)));
    heldUntil = performance.now() + HELD;
    context.set(knob, dragged, moving);
    surface.paint();
  }
  surface.element.addEventListener("pointerdown", (event) => {
    const box = surface.element.getBoundingClientRect();
    const [x, y] = [event.clientX - box.left, event.clientY - box.top];
    dragged = null;
    if (event.button !== 0 || !knobOf() || !planeAt(mark, plan, x, y)) return;
    pressed = { x, y };
    surface.element.setPointerCapture(event.pointerId);
  }, listen);
  surface.element.addEventListener("pointermove", (event) => drag(event, true), listen);
  surface.element.addEventListener("pointerup", (event) => {
    if (dragged !== null) drag(event, false);
    pressed = null;
  }, listen);
  surface.element.addEventListener("pointercancel", () => (pressed = null), listen);
  // Where a drag ends nothing is chosen besides.
  surface.element.addEventListener("click", (event) => {
    if (dragged !== null) event.stopImmediatePropagation();
  }, { ...listen, capture: true });

  function show(): void {
    plated = "";
    frame.update(mark, mark.values.shape.length === 2 ? mark.limits : null, context.theme);
    surface.paint();
    drawn = stateOf(context, true);
    const points = mark.points?.shape[0] ?? 0;
    touch.reset(`${mark.title || "plane of outputs"}${mark.faded ? ", faded" : ""}${points ? ` with ${counted(points, "point")}` : ""}${mark.wrong ? `, ${count(mark.wrong.data)} wrong` : ""}; arrow keys read the ${points ? "points" : "plane"}${knobOf() ? `, ${points ? "with Shift they move" : "Enter puts there"} the cross` : ""}`);
  }

  show();
  return {
    update(next) {
      mark = next;
      // Pictures of places that the cross has left do not pull it back.
      if (!pressed && (mark.handle?.value === dragged || performance.now() > heldUntil)) dragged = null;
      show();
    },
    refresh() {
      if (stateOf(context, true) === drawn) return;
      drawn = stateOf(context, true);
      frame.update(mark, mark.values.shape.length === 2 ? mark.limits : null, context.theme);
      surface.paint();
    },
    destroy() {
      stop.abort();
      touch.destroy();
      path.destroy();
      surface.destroy();
      element.replaceChildren();
    },
  };
};

function clamped(value: number, one: number, other: number): number {
  return Math.max(Math.min(one, other), Math.min(Math.max(one, other), value));
}

function count(flags: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < flags.length; i++) sum += flags[i] ? 1 : 0;
  return sum;
}

function arrange(mark: Field, width: number): Plan {
  const [x0, x1, y0, y1] = mark.extent;
  const aspect = Math.abs((y1 - y0) / (x1 - x0));
  const shape = aspect > 0.4 && aspect < 1.6 ? aspect : 0.8;
  const span = (left: number): number => Math.max(40, Math.min(mark.size, width - left - 6));
  // A title that is longer than its axis takes a second line; numbers beside the axis have the room that the longest wants.
  const beside = mark.y_title.length * LETTER > span(LEFT) * shape ? 2 : 1;
  const [longest] = upTicks(new Scale([y0, y1], [4 + span(LEFT) * shape, 4])).map(({ text }) => text.length).sort((a, b) => b - a);
  const left = Math.max(LEFT, Math.ceil((longest ?? 0) * LETTER) + 6 + (mark.y_title ? LINE : 0)) + (beside - 1) * LINE;
  const wide = span(left);
  const below = mark.x_title.length * LETTER > width - left ? 2 : 1;
  return { x: new Scale([x0, x1], [left, left + wide]), y: new Scale([y0, y1], [4 + wide * shape, 4]), below, beside, width };
}

function upTicks(y: Scale): { tick: number; text: string }[] {
  const ticks = y.ticks(Math.max(2, Math.round((y.from - y.to) / 60)));
  return ticks.map((tick) => ({ tick, text: tickText(tick, ticks) }));
}

/** A title in one line or two, broken between words. */
function broken(pen: CanvasRenderingContext2D, title: string, lines: number, room: number): string[] {
  if (lines < 2 || pen.measureText(title).width <= room) return [fit(pen, title, room)];
  const words = title.split(" ");
  let first = words.length - 1;
  while (first > 1 && pen.measureText(words.slice(0, first).join(" ")).width > room) first--;
  return [words.slice(0, first).join(" "), words.slice(first).join(" ")].map((line) => fit(pen, line, room));
}

/** The plane itself, one canvas pixel a value, the highest y on top. */
function paintPlate(canvas: HTMLCanvasElement, mark: Field, theme: Theme): void {
  const [height = 0, width = 0, classes = 0] = mark.values.shape;
  canvas.width = width;
  canvas.height = height;
  if (!width || !height) return;
  const sheet = new ImageData(width, height);
  const pixels = new Uint32Array(sheet.data.buffer);
  const paper = rgb(PAPERS[theme]);
  const hues = Array.from({ length: classes }, (_, i) => rgb(classColour(i)));
  const table = mark.limits ? lut(mark.limits.scale, theme) : null;
  for (let row = 0; row < height; row++) {
    for (let column = 0; column < width; column++) {
      const from = row * width + column;
      const to = (height - 1 - row) * width + column;
      if (!classes) {
        const value = mark.values.data[from] as number;
        if (Number.isNaN(value) || !mark.limits || !table) pixels[to] = 0;
        else pixels[to] = Number.isFinite(value) ? (table[place(value, mark.limits, table.length)] as number) : pack(rgb(INFINITE));
        continue;
      }
      const best = likeliest(mark, from, classes);
      const certain = ((mark.values.data[from * classes + best] as number) - 1 / classes) / (1 - 1 / classes);
      const sure = Math.max(0, Math.min(1, certain));
      // Nothing is known where all classes are alike: that is the paper.
      const share = 0.12 * Math.min(1, 20 * sure) + 0.5 * sure;
      const hue = hues[best] ?? paper;
      pixels[to] = Number.isNaN(certain) ? 0 : pack([blend(paper[0], hue[0], share), blend(paper[1], hue[1], share), blend(paper[2], hue[2], share)]);
    }
  }
  context2d(canvas).putImageData(sheet, 0, 0);
}

function blend(from: number, to: number, share: number): number {
  return Math.round(from + (to - from) * share);
}

function likeliest(mark: Field, cell: number, classes: number): number {
  let best = 0;
  for (let i = 1; i < classes; i++) {
    if ((mark.values.data[cell * classes + i] as number) > (mark.values.data[cell * classes + best] as number)) best = i;
  }
  return best;
}

function paint(pen: CanvasRenderingContext2D, plate: HTMLCanvasElement, borders: Float32Array, plan: Plan, mark: Field, context: Context, ink: Ink, dragged: string | null): void {
  const { x, y } = plan;
  const [wide, tall] = [x.to - x.from, y.from - y.to];
  if (plate.width && plate.height) {
    pen.imageSmoothingEnabled = false;
    pen.globalAlpha = mark.faded ? PALE : 1;
    pen.drawImage(plate, x.from, y.to, wide, tall);
    pen.globalAlpha = 1;
  }
  paintBorders(pen, plan, borders, mark, ink);
  pen.strokeStyle = ink.hairline;
  pen.lineWidth = 1;
  pen.strokeRect(x.from - 0.5, y.to - 0.5, wide + 1, tall + 1);
  paintTicks(pen, plan, mark, ink);
  paintOver(pen, plan, mark, ink);
  paintPoints(pen, plan, mark, context, ink);
  paintPlace(pen, plan, mark, ink, dragged);
}

/** The border of a region and the path through the points, each on a rim of paper so that it shows on any colour. */
function paintOver(pen: CanvasRenderingContext2D, plan: Plan, mark: Field, ink: Ink): void {
  const { x, y } = plan;
  const pieces = mark.outline?.data ?? [];
  const path = mark.joined ? (mark.points?.shape[0] ?? 0) : 0;
  if (!pieces.length && path < 2) return;
  pen.save();
  pen.beginPath();
  pen.rect(x.from, y.to, x.to - x.from, y.from - y.to);
  pen.clip();
  pen.lineJoin = "round";
  for (const [colour, wider] of [[ink.paper, 2], [ink.ink, 0]] as const) {
    pen.strokeStyle = colour;
    pen.lineWidth = 2 + wider;
    pen.beginPath();
    for (let i = 0; i < pieces.length; i += 4) {
      pen.moveTo(x.at(pieces[i] as number), y.at(pieces[i + 1] as number));
      pen.lineTo(x.at(pieces[i + 2] as number), y.at(pieces[i + 3] as number));
    }
    pen.stroke();
    pen.lineWidth = 1 + wider;
    pen.beginPath();
    for (let i = 0; i < path; i++) pen.lineTo(...where(mark, plan, i));
    pen.stroke();
  }
  pen.restore();
}

/** A cross where a point handle stands. */
function paintPlace(pen: CanvasRenderingContext2D, { x, y }: Plan, mark: Field, ink: Ink, dragged: string | null): void {
  if (mark.handle?.kind !== "point") return;
  const [across, up] = (dragged ?? mark.handle.value).split(",").map(Number);
  if (across === undefined || up === undefined || !Number.isFinite(across) || !Number.isFinite(up)) return;
  const [atX, atY] = [x.at(across), y.at(up)];
  if (atX < x.from || atX > x.to || atY < y.to || atY > y.from) return;
  for (const [colour, width] of [[ink.paper, 4], [ink.accent, 2]] as const) {
    pen.beginPath();
    pen.moveTo(atX - 8, atY);
    pen.lineTo(atX + 8, atY);
    pen.moveTo(atX, atY - 8);
    pen.lineTo(atX, atY + 8);
    pen.strokeStyle = colour;
    pen.lineWidth = width;
    pen.stroke();
  }
}

/** Where the likeliest class changes: pieces of lines, in cells from the lower left corner. */
function bordersOf(mark: Field): Float32Array {
  const [height = 0, width = 0, classes = 0] = mark.values.shape;
  if (!classes) return new Float32Array();
  const best = new Uint16Array(height * width);
  for (let i = 0; i < best.length; i++) best[i] = likeliest(mark, i, classes);
  const found: number[] = [];
  for (let row = 0; row < height; row++) {
    for (let column = 0; column < width; column++) {
      const here = best[row * width + column];
      if (column + 1 < width && best[row * width + column + 1] !== here) found.push(column + 1, row, column + 1, row + 1);
      if (row + 1 < height && best[(row + 1) * width + column] !== here) found.push(column, row + 1, column + 1, row + 1);
    }
  }
  return Float32Array.from(found);
}

function paintBorders(pen: CanvasRenderingContext2D, { x, y }: Plan, borders: Float32Array, mark: Field, ink: Ink): void {
  const [height = 1, width = 1] = mark.values.shape;
  const [stepX, stepY] = [(x.to - x.from) / width, (y.from - y.to) / height];
  pen.strokeStyle = ink.ink;
  pen.globalAlpha = 0.55;
  pen.lineWidth = 1;
  pen.beginPath();
  for (let i = 0; i < borders.length; i += 4) {
    pen.moveTo(x.from + (borders[i] as number) * stepX, y.from - (borders[i + 1] as number) * stepY);
    pen.lineTo(x.from + (borders[i + 2] as number) * stepX, y.from - (borders[i + 3] as number) * stepY);
  }
  pen.stroke();
  pen.globalAlpha = 1;
}

function paintTicks(pen: CanvasRenderingContext2D, { x, y, below, beside, width }: Plan, mark: Field, ink: Ink): void {
  pen.font = face(11);
  pen.fillStyle = ink.muted;
  pen.textBaseline = "middle";
  const xTicks = x.ticks(Math.max(2, Math.round((x.to - x.from) / 70)));
  pen.textAlign = "center";
  for (const tick of xTicks) pen.fillText(tickText(tick, xTicks), x.at(tick), y.from + 11);
  pen.textAlign = "right";
  for (const { tick, text } of upTicks(y)) pen.fillText(text, x.from - 6, Math.max(8, y.at(tick)));
  pen.textAlign = "center";
  const room = 2 * Math.min((x.from + x.to) / 2, width - (x.from + x.to) / 2);
  broken(pen, mark.x_title, below, room).forEach((line, i) => pen.fillText(line, (x.from + x.to) / 2, y.from + FOOT + 4 + LINE * i));
  if (!mark.y_title) return;
  pen.save();
  pen.translate(7, (y.from + y.to) / 2);
  pen.rotate(-Math.PI / 2);
  pen.textAlign = "center";
  broken(pen, mark.y_title, beside, y.from - y.to).forEach((line, i) => pen.fillText(line, 0, LINE * i));
  pen.restore();
}

function paintPoints(pen: CanvasRenderingContext2D, plan: Plan, mark: Field, context: Context, ink: Ink): void {
  const total = mark.points?.shape[0] ?? 0;
  const chosen = new Chosen(context.selection);
  const against = new Chosen(context.against);
  // Points in the colours of the ground they lie on could not be told from it by a rim of paper.
  const ground = mark.point_values !== null && mark.values.shape.length === 2 && mark.limits !== null;
  const radius = mark.small ? SMALL : total > 800 ? 2 : total > 300 ? 2.75 : RADIUS;
  for (let i = 0; i < total; i++) {
    const [x, y] = where(mark, plan, i);
    pen.beginPath();
    pen.arc(x, y, radius, 0, 7);
    pen.fillStyle = pointColour(mark, i, context.theme, ink);
    pen.fill();
    pen.lineWidth = mark.wrong?.data[i] ? 1.75 : mark.small ? 0.75 : 1;
    pen.strokeStyle = mark.wrong?.data[i] || ground ? ink.ink : ink.paper;
    pen.stroke();
  }
  mark.point_keys.forEach((key, i) => {
    const opposed = against.has(key);
    if (!chosen.has(key) && !opposed && context.hovered !== key) return;
    const [x, y] = where(mark, plan, i);
    pen.beginPath();
    pen.arc(x, y, radius + 3, 0, 7);
    pen.lineWidth = chosen.has(key) || opposed ? 2 : 1;
    pen.strokeStyle = chosen.has(key) || opposed ? ink.accent : ink.ink;
    pen.setLineDash(opposed && !chosen.has(key) ? [3, 2] : []);
    pen.stroke();
    pen.setLineDash([]);
  });
}

function pointColour(mark: Field, i: number, theme: Theme, ink: Ink): string {
  const value = mark.point_values?.data[i];
  if (value === undefined) return ink.ink;
  return mark.limits && mark.values.shape.length === 2 ? css(value, mark.limits, theme) : classColour(value);
}

function where(mark: Field, { x, y }: Plan, i: number): [number, number] {
  return [x.at(mark.points?.data[2 * i] as number), y.at(mark.points?.data[2 * i + 1] as number)];
}

function pointAt(mark: Field, plan: Plan, x: number, y: number): Hit | null {
  let best = -1;
  let least = 8 ** 2;
  for (let i = 0; i < (mark.points?.shape[0] ?? 0); i++) {
    const [px, py] = where(mark, plan, i);
    const distance = (px - x) ** 2 + (py - y) ** 2;
    if (distance < least) [least, best] = [distance, i];
  }
  return best < 0 ? null : point(mark, plan, best);
}

/** The nearest point in a direction. */
function towards(mark: Field, plan: Plan, from: number, dx: number, dy: number): number {
  const [x, y] = where(mark, plan, from);
  let best = from;
  let least = Infinity;
  for (let i = 0; i < (mark.points?.shape[0] ?? 0); i++) {
    const [px, py] = where(mark, plan, i);
    const along = (px - x) * dx + (py - y) * dy;
    const aside = Math.abs((px - x) * dy) + Math.abs((py - y) * dx);
    if (along > 0.5 && along + 2 * aside < least) [least, best] = [along + 2 * aside, i];
  }
  return best;
}

function point(mark: Field, plan: Plan, i: number): Hit {
  const [x, y] = where(mark, plan, i);
  const key = mark.point_keys[i];
  const value = mark.point_values?.data[i];
  const name = value === undefined ? "" : mark.values.shape.length === 3 ? (mark.classes[value] ?? `class ${value}`) : withUnit(value, mark.limits?.unit ?? "");
  return {
    id: String(i),
    keys: key ? [key] : [],
    lines: [`${key ? key.replace(":", " ") : `point ${i}`}${name ? ` · ${name}` : ""}${mark.wrong?.data[i] ? " · wrong" : ""}`, `at ${format(mark.points?.data[2 * i])}, ${format(mark.points?.data[2 * i + 1])}`],
    x: x - 6, y: y - 6, width: 12, height: 12, round: true,
  };
}

function planeAt(mark: Field, plan: Plan, x: number, y: number): Hit | null {
  if (x < plan.x.from || x >= plan.x.to || y <= plan.y.to || y > plan.y.from) return null;
  const [height = 0, width = 0, classes = 0] = mark.values.shape;
  const column = Math.min(width - 1, Math.floor(((x - plan.x.from) / (plan.x.to - plan.x.from)) * width));
  const row = Math.min(height - 1, Math.floor(((plan.y.from - y) / (plan.y.from - plan.y.to)) * height));
  const cell = row * width + column;
  const told = classes
    ? Array.from({ length: classes }, (_, i) => ({ name: mark.classes[i] ?? `class ${i}`, share: mark.values.data[cell * classes + i] as number }))
        .sort((a, b) => b.share - a.share).slice(0, 3).map(({ name, share }) => `${name}: ${percent(share)}`)
    : [withUnit(mark.values.data[cell] as number, mark.limits?.unit ?? "")];
  const lines = [`at ${format(plan.x.value(x))}, ${format(plan.y.value(y))}`, ...told];
  return { id: "0", keys: [], lines, x, y, width: 0, height: 0 };
}

export function height(mark: Field, width: number, factor: number): number {
  const [low, high, bottom, top] = mark.extent;
  const aspect = Math.abs((top - bottom) / (high - low));
  const ratio = aspect > 0.4 && aspect < 1.6 ? aspect : 0.8;
  return Math.min(mark.size * factor, width - 50) * ratio + 44 + (mark.x_title ? LINE : 0) + (mark.classes.length ? 23 : 0);
}

export function width(mark: Field, factor: number): number {
  return mark.size * factor + 50;
}

export function scaled(mark: Field, factor: number): Field {
  return { ...mark, size: Math.max(60, Math.round(mark.size * factor)) };
}
