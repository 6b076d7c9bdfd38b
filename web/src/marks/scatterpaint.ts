// Paints the points of a scatter: dots, pixels where they are many, small pictures on a grid, trails and contours.

import { classColour, css, lut, pack, rgb, unpack, type Theme } from "../colour.ts";
import { row } from "../picture.ts";
import { NAN_INK, PAPERS, type Scatter } from "../types.ts";
import { context2d, paintImage } from "./cells.ts";
import type { Context } from "./context.ts";
import { MANY, rarity, type Cloud } from "./scattergl.ts";
import { CELL, cellOf, chosenBy, inPart, onGrid, placed, pointOf, stepsBack, type Look, type Placed } from "./scatterplan.ts";
import type { Ink } from "./sheet.ts";

/** More points than this are pixels. */
const DOTS = 4000;
/** Without WebGL the points themselves are drawn where the picture is so much nearer. */
const NEAR = 4;
const PALE = 0.7;

/** The colour of each point, and the same paler. */
export interface Shades {
  readonly full: Uint32Array;
  readonly pale: Uint32Array;
}

export function shadesOf(mark: Scatter, theme: Theme, ink: Ink): Shades {
  const count = mark.points.shape[0] ?? 0;
  const [full, pale] = [new Uint32Array(count), new Uint32Array(count)];
  const paper = rgb(PAPERS[theme]);
  const known = new Map<string, [number, number]>();
  for (let i = 0; i < count; i++) {
    const colour = colourOf(mark, i, theme, ink);
    let found = known.get(colour);
    if (!found) {
      const parts = colour.startsWith("#") ? rgb(colour) : ((colour.match(/\d+/g) ?? ["0", "0", "0"]).map(Number) as [number, number, number]);
      const mixed = parts.map((part, k) => Math.round(part + (paper[k]! - part) * PALE)) as [number, number, number];
      known.set(colour, (found = [pack(parts), pack(mixed)]));
    }
    [full[i], pale[i]] = found;
  }
  return { full, pale };
}

function colourOf(mark: Scatter, i: number, theme: Theme, ink: Ink): string {
  const value = mark.values?.data[i] as number | undefined;
  if (value === undefined) return ink.ink;
  if (mark.limits) return css(value, mark.limits, theme);
  return value >= 0 ? classColour(value) : NAN_INK;
}

export interface Scene {
  readonly mark: Scatter;
  readonly plan: Placed;
  readonly look: Look;
  readonly shades: Shades;
  readonly moving: boolean;
  readonly cloud: Cloud;
}

/** Paint all; says what could not be drawn, or nothing. */
export function paint(pen: CanvasRenderingContext2D, scene: Scene, context: Context, ink: Ink, scratch: HTMLCanvasElement): string {
  const { mark, plan, look } = scene;
  const { side } = plan;
  pen.save();
  pen.beginPath();
  pen.rect(0, 0, side, side);
  pen.clip();
  paintBorders(pen, scene);
  const count = mark.points.shape[0] ?? 0;
  const marked = chosenBy(mark, context.selection);
  const some = sumOf(marked) > 0;
  let said = "";
  if (count <= MANY || mark.drawn === "thumbnails") scene.cloud.hide();
  if (mark.trails) paintTrails(pen, scene, marked, some, context);
  if (mark.drawn === "thumbnails") said = paintPictures(pen, scene, context, ink, marked, some);
  else if (mark.crowd && look.zoom < NEAR && !look.lens && !some && !scene.cloud.usable) said = paintCrowd(pen, scene, context, scratch);
  else if (count > DOTS) said = paintPixels(pen, scene, scratch, marked, some);
  else paintDots(pen, scene, ink, marked, some);
  if (mark.drawn !== "thumbnails") paintRings(pen, scene, context, ink, marked);
  paintArrows(pen, scene, ink);
  pen.restore();
  pen.strokeStyle = ink.hairline;
  pen.lineWidth = 1;
  pen.strokeRect(0.5, 0.5, side - 1, side - 1);
  return said;
}

function radiusOf({ mark, plan }: Scene, i: number): number {
  const count = plan.at.length / 2;
  const usual = mark.drawn === "density" ? 1.5 : count > 800 ? 2.25 : count > 300 ? 3 : 3.75;
  const size = Math.sqrt(Math.max(0.05, Math.min(9, (mark.sizes?.data[i] as number | undefined) ?? 1)));
  return usual * size * (1 + 0.25 * (plan.depth[i] ?? 0));
}

/** Far points first. */
function order({ plan }: Scene): number[] {
  const all = Array.from({ length: plan.at.length / 2 }, (_, i) => i);
  return plan.depth.length ? all.sort((a, b) => (plan.depth[a] as number) - (plan.depth[b] as number)) : all;
}

function paintDots(pen: CanvasRenderingContext2D, scene: Scene, ink: Ink, marked: Uint8Array, some: boolean): void {
  const { mark, plan, shades } = scene;
  for (const i of order(scene)) {
    const [x, y] = [plan.at[2 * i] as number, plan.at[2 * i + 1] as number];
    if (!Number.isFinite(x) || !Number.isFinite(y)) continue;
    const pale = stepsBack(mark, i, marked, some);
    pen.beginPath();
    pen.arc(x, y, radiusOf(scene, i), 0, 7);
    pen.fillStyle = unpack((pale ? shades.pale : shades.full)[i] as number);
    pen.fill();
    if (mark.drawn === "density" && !mark.wrong?.data[i]) continue;
    pen.lineWidth = mark.wrong?.data[i] ? 1.75 : 1;
    pen.strokeStyle = mark.wrong?.data[i] ? ink.ink : ink.paper;
    pen.stroke();
  }
}

/** Many points as pixels, by the graphics processor where they are very many; while it moves a fixed part of them, which is said. */
function paintPixels(pen: CanvasRenderingContext2D, scene: Scene, scratch: HTMLCanvasElement, marked: Uint8Array, some: boolean): string {
  const { mark, plan, shades, look, cloud } = scene;
  const count = mark.points.shape[0] ?? 0;
  const density = Math.max(1, Math.min(2, devicePixelRatio || 1));
  const size = Math.max(1, Math.round(plan.side * density));
  const one = scene.moving ? rarity(count) : 1;
  const reach = (count > MANY ? 1 : 2) * Math.round(density);
  const isPale = (i: number): boolean => stepsBack(mark, i, marked, some);
  const inkOf = (i: number): number => (isPale(i) ? shades.pale : shades.full)[i] as number;
  const sight = { look, moving: one > 1, side: plan.side, density, reach, inkOf, isPale, same: [shades, marked] };
  if (count <= MANY || !cloud.paint(mark, sight)) {
    paintByHand(scratch, plan, size, density, reach, one, inkOf, isPale);
    pen.imageSmoothingEnabled = false;
    pen.drawImage(scratch, 0, 0, plan.side, plan.side);
  }
  return one > 1 ? `one in ${one} of ${count.toLocaleString("en-US")} points is drawn while it moves` : "";
}

/** The pixels of a canvas, those of pale points first. */
function paintByHand(
  canvas: HTMLCanvasElement, plan: Placed, size: number, density: number, reach: number, one: number, inkOf: (i: number) => number, isPale: (i: number) => boolean,
): void {
  if (canvas.width !== size || canvas.height !== size) [canvas.width, canvas.height] = [size, size];
  const sheet = new ImageData(size, size);
  const pixels = new Uint32Array(sheet.data.buffer);
  const count = plan.at.length / 2;
  for (const pale of [true, false]) {
    for (let i = 0; i < count; i++) {
      if ((one > 1 && !inPart(i, one)) || isPale(i) !== pale) continue;
      const x = Math.round((plan.at[2 * i] as number) * density);
      const y = Math.round((plan.at[2 * i + 1] as number) * density);
      if (!(x >= 0 && y >= 0 && x + reach <= size && y + reach <= size)) continue;
      const shade = inkOf(i);
      for (let dy = 0; dy < reach; dy++) for (let dx = 0; dx < reach; dx++) pixels[(y + dy) * size + x + dx] = shade;
    }
  }
  context2d(canvas).putImageData(sheet, 0, 0);
}

/** Without WebGL: how many points lie where, as Python counted them; a place without any is left free. */
function paintCrowd(pen: CanvasRenderingContext2D, { mark, plan, look }: Scene, context: Context, canvas: HTMLCanvasElement): string {
  const crowd = mark.crowd!;
  const [rows = 1, columns = 1] = crowd.shape;
  [canvas.width, canvas.height] = [columns, rows];
  const sheet = new ImageData(columns, rows);
  const pixels = new Uint32Array(sheet.data.buffer);
  const table = lut("magnitude", context.theme);
  let most = 0;
  for (let i = 0; i < crowd.data.length; i++) most = Math.max(most, crowd.data[i] as number);
  for (let i = 0; i < pixels.length; i++) {
    const value = crowd.data[i] as number;
    if (value > 0) pixels[i] = table[Math.round((value / most) * (table.length - 1))] as number;
  }
  context2d(canvas).putImageData(sheet, 0, 0);
  const size = plan.side * look.zoom;
  pen.imageSmoothingEnabled = false;
  pen.drawImage(canvas, plan.side / 2 - (1 + look.x) * (size / 2), plan.side / 2 - (1 - look.y) * (size / 2), size, size);
  const count = (mark.points.shape[0] ?? 0).toLocaleString("en-US");
  return `${count} points as how many lie where, for there is no WebGL here; nearer they are drawn`;
}

export function sumOf(flags: Uint8Array): number {
  let sum = 0;
  for (let i = 0; i < flags.length; i++) sum += flags[i] as number;
  return sum;
}

function paintRings(pen: CanvasRenderingContext2D, scene: Scene, context: Context, ink: Ink, marked: Uint8Array): void {
  const { mark, plan } = scene;
  const hoveredAt = pointOf(mark, context.hovered);
  const against = chosenBy(mark, context.against);
  const sum = sumOf(marked);
  if (hoveredAt < 0 && !sum && !context.against.length) return;
  const few = sum <= 400;
  for (let i = 0; i < marked.length; i++) {
    const hovered = i === hoveredAt;
    const opposed = against[i] === 1;
    if (!hovered && !opposed && !(few && marked[i])) continue;
    pen.beginPath();
    pen.arc(plan.at[2 * i] as number, plan.at[2 * i + 1] as number, radiusOf(scene, i) + (hovered ? 4 : 2.5), 0, 7);
    pen.lineWidth = hovered ? 2.5 : 1.5;
    pen.strokeStyle = hovered && !marked[i] ? ink.ink : ink.accent;
    pen.setLineDash(opposed && !marked[i] ? [3, 2] : []);
    pen.stroke();
    pen.setLineDash([]);
  }
}

function paintTrails(pen: CanvasRenderingContext2D, scene: Scene, marked: Uint8Array, some: boolean, context: Context): void {
  const { mark, plan, look, shades } = scene;
  const trails = mark.trails;
  if (!trails) return;
  const [count = 0, places = 0, stride = 2] = trails.shape;
  const hoveredAt = pointOf(mark, context.hovered);
  const ways = placed(mark, trails.data, stride, look, plan.side).at;
  for (let i = 0; i < count; i++) {
    const strong = marked[i] || i === hoveredAt;
    if (some && !strong) continue;
    pen.globalAlpha = strong ? 0.9 : count > 600 ? 0.12 : 0.3;
    pen.strokeStyle = unpack(shades.full[i] as number);
    pen.lineWidth = strong ? 1.75 : 1;
    pen.beginPath();
    let drawing = false;
    for (let k = 0; k <= places; k++) {
      const j = 2 * (i * places + k);
      const [x, y] = k < places ? [ways[j] as number, ways[j + 1] as number] : [plan.at[2 * i] as number, plan.at[2 * i + 1] as number];
      if (Number.isFinite(x) && Number.isFinite(y)) drawing ? pen.lineTo(x, y) : pen.moveTo(x, y);
      drawing = Number.isFinite(x) && Number.isFinite(y);
    }
    pen.stroke();
  }
  pen.globalAlpha = 1;
}

/** Lines from the middle of the points, each with a head and a name on paper, so that it can be read over points. */
function paintArrows(pen: CanvasRenderingContext2D, { mark, plan, look }: Scene, ink: Ink): void {
  if (!mark.arrows) return;
  const [count = 0, stride = 2] = mark.arrows.shape;
  const { at } = placed(mark, Float64Array.from([...mark.middle, ...Array.from(mark.arrows.data as Float32Array)]), stride, look, plan.side);
  const [x0, y0] = [at[0] as number, at[1] as number];
  pen.font = `500 11px ${getComputedStyle(pen.canvas).fontFamily}`;
  pen.textBaseline = "middle";
  for (let i = 1; i <= count; i++) {
    const [x, y] = [at[2 * i] as number, at[2 * i + 1] as number];
    if (!Number.isFinite(x) || !Number.isFinite(y)) continue;
    const back = Math.atan2(y0 - y, x0 - x);
    for (const [colour, width] of [[ink.paper, 3.5], [ink.ink, 1.25]] as const) {
      pen.strokeStyle = colour;
      pen.lineWidth = width;
      pen.beginPath();
      pen.moveTo(x0, y0);
      pen.lineTo(x, y);
      for (const turn of [-0.45, 0.45]) {
        pen.moveTo(x, y);
        pen.lineTo(x + 7 * Math.cos(back + turn), y + 7 * Math.sin(back + turn));
      }
      pen.stroke();
    }
    const left = x < x0;
    pen.textAlign = left ? "right" : "left";
    pen.strokeStyle = ink.paper;
    pen.lineWidth = 3;
    pen.strokeText(mark.arrow_labels[i - 1] ?? "", x + (left ? -5 : 5), y);
    pen.fillStyle = ink.ink;
    pen.fillText(mark.arrow_labels[i - 1] ?? "", x + (left ? -5 : 5), y);
  }
}

function paintBorders(pen: CanvasRenderingContext2D, { mark, plan, look }: Scene): void {
  const pieces = mark.borders?.shape[0] ?? 0;
  if (!mark.borders || !pieces || (mark.points.shape[1] ?? 2) === 3) return;
  const numbers = mark.borders.data;
  const ends = new Float64Array(4 * pieces);
  for (let i = 0; i < pieces; i++) for (let k = 0; k < 4; k++) ends[4 * i + k] = numbers[5 * i + k] as number;
  const { at } = placed(mark, ends, 2, look, plan.side);
  pen.lineWidth = 1.25;
  let drawing: number | null = null;
  for (let i = 0; i < pieces; i++) {
    const number = numbers[5 * i + 4] as number;
    if (number !== drawing) {
      if (drawing !== null) pen.stroke();
      pen.beginPath();
      pen.strokeStyle = classColour(number);
      drawing = number;
    }
    pen.moveTo(at[4 * i] as number, at[4 * i + 1] as number);
    pen.lineTo(at[4 * i + 2] as number, at[4 * i + 3] as number);
  }
  pen.stroke();
}

function paintPictures(pen: CanvasRenderingContext2D, scene: Scene, context: Context, ink: Ink, marked: Uint8Array, some: boolean): string {
  const { mark, plan, shades } = scene;
  const cell = cellOf(mark);
  const places = onGrid(plan, cell);
  const hoveredAt = pointOf(mark, context.hovered);
  const canvas = document.createElement("canvas");
  const face = getComputedStyle(pen.canvas).fontFamily;
  for (const [i, [x, y]] of places) {
    if (!mark.pictures) {
      paintWords(pen, scene, ink, [x, y, ...cell], i, Boolean(marked[i]) || i === hoveredAt, stepsBack(mark, i, marked, some), face);
      continue;
    }
    paintImage(canvas, row(mark.pictures, i), mark.picture_limits, context.theme);
    pen.imageSmoothingEnabled = canvas.width > (CELL - 4) * devicePixelRatio;
    pen.globalAlpha = stepsBack(mark, i, marked, some) ? 0.35 : 1;
    const room = CELL - 4;
    const [wide, tall] = [room * Math.min(1, canvas.width / canvas.height), room * Math.min(1, canvas.height / canvas.width)];
    pen.drawImage(canvas, x + 2 + (room - wide) / 2, y + 2 + (room - tall) / 2, wide, tall);
    const strong = marked[i] || i === hoveredAt;
    pen.strokeStyle = strong ? ink.accent : mark.wrong?.data[i] ? ink.ink : unpack(shades.full[i] as number);
    pen.lineWidth = strong ? 2.5 : 1.5;
    pen.strokeRect(x + 1.25, y + 1.25, CELL - 2.5, CELL - 2.5);
  }
  pen.globalAlpha = 1;
  const count = mark.points.shape[0] ?? 0;
  return places.size < count ? `${places.size} of ${count.toLocaleString("en-US")} ${mark.pictures ? "pictures" : "texts"}, one for each place; nearer there are more` : "";
}

/** A line of text in its place, cut where it is too long, with a bar in the colour of its point. */
function paintWords(
  pen: CanvasRenderingContext2D, { mark, shades }: Scene, ink: Ink, [x, y, wide, high]: readonly number[], i: number, strong: boolean, pale: boolean, face: string,
): void {
  pen.globalAlpha = pale ? 0.35 : 1;
  pen.fillStyle = unpack(shades.full[i] as number);
  pen.fillRect(x! + 2, y! + 3, 3, high! - 6);
  pen.font = `11px ${face}`;
  pen.textBaseline = "middle";
  pen.fillStyle = strong ? ink.accent : ink.ink;
  let text = mark.labels[i] ?? "";
  const room = wide! - 12;
  if (pen.measureText(text).width > room) {
    let letters = [...text];
    while (letters.length > 1 && pen.measureText(`${letters.join("")}…`).width > room) letters = letters.slice(0, -1);
    text = `${letters.join("")}…`;
  }
  pen.fillText(text, x! + 8, y! + high! / 2);
  if (strong || mark.wrong?.data[i]) {
    pen.strokeStyle = strong ? ink.accent : ink.ink;
    pen.lineWidth = strong ? 1.5 : 1;
    pen.strokeRect(x! + 0.75, y! + 0.75, wide! - 1.5, high! - 1.5);
  }
}
