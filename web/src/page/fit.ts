/** Give a picture's marks the sizes that fill the place it has, so that nothing is cut off and no room is wasted. */

import { LEAST, type Fitted, type Half, type Measures, type Space } from "../marks/half.ts";
import { HALVES } from "../marks/halves.ts";
import { titleLines } from "../marks/image.ts";
import { ASIDE } from "../marks/scatter.ts";
import type { Folding } from "../marks/number.ts";
import type { Group, Node, Number as NumberMark } from "../types.ts";

const HEAD = 23;
/** Each further line of a title. */
const LINE = 19;
const CAPTION = 20;
const SLIDE = 24;
/** A title among folded findings. */
const TIGHT = 16;
/** On both sides of the line between two numbers. */
const BETWEEN = 12;
/** The least width of a mark in a grid that has no width of its own, as in the style sheet. */
const CELL = 240;
/** Charts that share a row are no narrower. */
const LEAST_WIDTH = 190;
const FACTORS = Array.from({ length: 80 }, (_, i) => 4 * 0.965 ** i).filter((factor) => factor >= 0.25);
/** Below this share of their wanted size, tiles are too small to read. */
const COMFORT = 0.75;

/** Fit a body to its place; bodies whose height follows from their content stay as they are, and scroll, as do those of a half that fails to measure. */
export function fit(body: Node, space: Space): Fitted {
  try {
    return fitted(body, space);
  } catch (error) {
    console.error(error);
    return { body, width: null };
  }
}

function fitted(body: Node, space: Space): Fitted {
  if (space.width < 40 || space.height < 40) return { body, width: null };
  if (body.mark === "group" && body.children.length === 1 && halfOf(body.children[0]!).fitted && !halfOf(body.children[0]!).height) {
    const inner = fitted(body.children[0]!, { ...space, height: space.height - around(body) });
    return { body: { ...body, children: [inner.body] }, width: inner.width };
  }
  const half = halfOf(body);
  const filled = half.filling?.(body, Math.floor(space.height - around(body) - 2));
  if (filled) return { body: filled, width: null };
  const own = half.fitted?.(body, space, around(body));
  if (own) return { body: own.mark, width: own.width };
  if (body.mark === "group" && body.direction === "column" && body.children.length > 1 && body.children.every((child) => child.mark === "number"))
    return { body: { ...body, children: folded(body.children as readonly NumberMark[], space) }, width: null };
  if (body.mark === "group" && body.direction === "column" && body.children.filter((child) => child.mark !== "number").length === 1) {
    // One chart with numbers below it, or above: it takes what they leave.
    const rest = body.children.reduce((total, child) => total + (child.mark === "number" ? 12 + written(child, space.width) : 0), 0);
    const children = body.children.map((child) => halfOf(child).filling?.(child, Math.floor(space.height - around(body) - around(child) - rest - 2)) ?? child);
    if (children.some((child, k) => child !== body.children[k])) return { body: { ...body, children }, width: null };
  }
  if (body.mark === "group" && body.children.length && body.children.every((child) => halfOf(child).filling))
    return { body: fitCharts(body, space), width: null };
  if (body.mark === "group" && body.direction === "row" && body.children.some((child) => child.mark === "lines") && space.height < LEAST.chart) {
    // In the tray a curve is no taller than its place, so that its lowest values are not cut off.
    const low = (child: Node): Node => (child.mark === "lines" ? { ...child, height: Math.max(40, Math.floor(space.height - around(body) - 4)) } : child);
    return { body: { ...body, children: body.children.map(low) }, width: null };
  }
  if (!scales(body)) return { body, width: null };
  // A plane by itself is read the better the larger it is; pictures of few pixels are not.
  const most = space.enlarged ? 4 : body.mark === "field" ? 2.4 : 1.6;
  const terse = withoutCaptions(body);
  for (const factor of FACTORS) {
    if (factor > most) continue;
    if (MEASURES.height(body, space.width, factor) <= space.height) return { body: MEASURES.scaled(body, factor), width: null };
    // The parts' own captions give way before their pictures become too small to read.
    if (factor < COMFORT && !space.enlarged && MEASURES.height(terse, space.width, factor) <= space.height)
      return { body: MEASURES.scaled(terse, factor), width: null };
  }
  return { body: MEASURES.scaled(space.enlarged ? body : terse, space.enlarged ? LEAST.scale : COMFORT), width: null };
}

/** Words beside a map want such a width, and it must gain so much by them standing there. */
const WORDS = 200;
const GAIN = 1.05;

/**
 * How wide a map stands with the words of its card beside it, where it is larger so than above them: it is square, and in a wide, low place
 * most would stay empty. Null for any other picture, and where there is no room.
 */
export function mapWidth(body: Node, width: number, height: number): number | null {
  const mark = body.mark === "group" && body.children.length === 1 ? body.children[0]! : body;
  if (mark.mark !== "scatter") return null;
  const tall = height - around(mark);
  const low = height - MEASURES.height(mark, 0, 1);
  const [side, taken] = tall + ASIDE <= width - WORDS ? [tall, tall + ASIDE] : [low, low];
  const before = Math.min(width, low - 2 * LINE);
  return side >= LEAST.picture && taken <= width - WORDS && side >= GAIN * before ? taken : null;
}

/** Findings in a low place: all their titles are in sight, and of the first as many notes as there is room for; the others unfold. */
export function folded(children: readonly NumberMark[], space: Space): Folding[] {
  const titles = children.map((child) => TIGHT * Math.ceil((7.4 * child.label.length) / Math.max(60, space.width - 54)));
  const notes = children.map((child, k) => 2 + written(child, space.width) - LINE + (k > 0 ? 2 * BETWEEN : 0));
  if (space.enlarged || (sum(titles) * LINE) / TIGHT + sum(notes) <= space.height) return [...children];
  let left = space.height - sum(titles);
  let open = true;
  return children.map((child, k) => {
    open &&= notes[k]! <= left;
    left -= notes[k]!;
    return open || !child.note ? child : { ...child, folds: true };
  });
}

const sum = (sizes: readonly number[]): number => sizes.reduce((total, size) => total + size, 0);

/** About the height of a number: its own line, and those of its note with what can be done. */
function written(mark: NumberMark, width: number): number {
  const letters = mark.note.length + mark.actions.reduce((total, action) => total + action.label.length + 2, 0);
  return LINE + around(mark) + LINE * Math.ceil((6.2 * letters) / Math.max(60, width - 24));
}

/** Charts share the height; where that is too little, they stand side by side. */
function fitCharts(body: Group, space: Space): Group {
  const count = body.children.length;
  const own = (body.title ? HEAD + 4 : 0) + (body.caption ? CAPTION : 0);
  const abreast = Math.floor((space.width + 16) / count) - 16;
  const heads = (width: number): number[] => body.children.map((child) => around(child) + LINE * (titleLines(child.title, width) - 1));
  const taken = heads(space.width).reduce((total, value) => total + value, 0);
  const stacked = Math.floor((space.height - own - taken - 12 * (count - 1)) / count) - 2;
  const beside = body.direction !== "column" || (stacked < 1.2 * LEAST.chart && abreast >= LEAST_WIDTH);
  const height = beside ? Math.floor(space.height - own - Math.max(...heads(Math.max(180, abreast)))) - 2 : stacked;
  return {
    ...body,
    direction: beside ? "row" : "column",
    children: body.children.map((child) => halfOf(child).filling?.(child, height) ?? child),
  };
}

function halfOf(node: Node): Half<Node> {
  return HALVES[node.mark] as unknown as Half<Node>;
}

function withoutCaptions(node: Node): Node {
  if (node.mark !== "group") return node;
  return { ...node, children: node.children.map((child) => ({ ...withoutCaptions(child), caption: "" })) };
}

/** Whether the height is known from the sizes of the marks. */
function scales(node: Node): boolean {
  return node.mark === "group" ? node.children.every(scales) : Boolean(halfOf(node).height);
}

/** Title, legend and caption. */
function around(node: Node): number {
  const scale = "limits" in node && node.limits && "scale" in node.limits ? node.limits.scale : "grey";
  const head = node.title || scale !== "grey" || halfOf(node).detailed?.(node) ? HEAD : 0;
  return head + (node.caption ? CAPTION : 0) + (node.handle?.kind === "slide" ? SLIDE : 0);
}

const MEASURES: Measures = {
  height: (node, width, factor) => (halfOf(node).height?.(node, width, factor, MEASURES) ?? 0) + around(node),
  width: (node, factor) => halfOf(node).width?.(node, factor, MEASURES) ?? CELL,
  scaled: (node, factor) => halfOf(node).scaled?.(node, factor, MEASURES) ?? node,
};
