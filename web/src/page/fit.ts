/** Give a picture's marks the sizes that fill the place it has, so that nothing is cut off and no room is wasted. */

import { isPictures } from "../marks/group.ts";
import type { Group, Heatmap, Lines, Node, Ridges, Tiles } from "../types.ts";

export interface Space {
  width: number;
  height: number;
  /** The view fills the whole middle. */
  enlarged: boolean;
}

export interface Fitted {
  body: Node;
  /** Where a square matrix must be narrower than its place to be low enough. */
  width: number | null;
}

const HEAD = 23;
const CAPTION = 20;
const LABEL = 14;
/** The least widths in a grid, as in the style sheet. */
const LEAST_CELL = 132;
const CHART_CELL = 240;
const SLIDE = 24;
const NAMES = 76;
const FACTORS = Array.from({ length: 80 }, (_, i) => 4 * 0.965 ** i).filter((factor) => factor >= 0.25);
const LEAST_CHART = 84;
const LEAST_WIDTH = 240;
/** Below this share of their wanted size, tiles are too small to read. */
const COMFORT = 0.75;
/** Tiles and pictures shrink no further; a matrix may have thinner rows. */
const LEAST = 0.55;

/** Fit a body to its place; bodies whose height follows from their content stay as they are, and scroll. */
export function fit(body: Node, space: Space): Fitted {
  if (space.width < 40 || space.height < 40) return { body, width: null };
  if (body.mark === "lines" || body.mark === "ridges") {
    const height = Math.max(LEAST_CHART, Math.floor(space.height - around(body) - 2));
    return { body: { ...body, height }, width: null };
  }
  if (body.mark === "heatmap" && body.square) return fitSquare(body, space);
  if (body.mark === "group" && body.children.length && body.children.every(isChart))
    return { body: fitCharts(body, space), width: null };
  if (!scales(body)) return { body, width: null };
  const most = space.enlarged ? 4 : 1.6;
  const terse = withoutCaptions(body);
  for (const factor of FACTORS) {
    if (factor > most) continue;
    if (heightOf(body, space.width, factor) <= space.height) return { body: scaled(body, factor), width: null };
    // The parts' own captions give way before their pictures become too small to read.
    if (factor < COMFORT && !space.enlarged && heightOf(terse, space.width, factor) <= space.height)
      return { body: scaled(terse, factor), width: null };
  }
  return { body: scaled(space.enlarged ? body : terse, space.enlarged ? LEAST : COMFORT), width: null };
}

/** Charts share the height; where that is too little, they stand side by side. */
function fitCharts(body: Group, space: Space): Group {
  const count = body.children.length;
  const own = (body.title ? HEAD + 4 : 0) + (body.caption ? CAPTION : 0);
  const heads = body.children.map(around);
  const stacked = Math.floor((space.height - own - sum(heads) - 12 * (count - 1)) / count) - 2;
  const abreast = Math.floor((space.width + 16) / count) - 16 >= LEAST_WIDTH;
  const beside = body.direction !== "column" || (stacked < 1.2 * LEAST_CHART && abreast);
  const height = Math.max(LEAST_CHART, beside ? Math.floor(space.height - own - Math.max(...heads)) - 2 : stacked);
  return {
    ...body,
    direction: beside ? "row" : "column",
    children: body.children.map((child) => (isChart(child) ? { ...child, height } : child)),
  };
}

function isChart(node: Node): node is Lines | Ridges {
  return node.mark === "lines" || node.mark === "ridges";
}

function withoutCaptions(node: Node): Node {
  if (node.mark !== "group") return node;
  return { ...node, children: node.children.map((child) => ({ ...withoutCaptions(child), caption: "" })) };
}

function fitSquare(body: Heatmap, space: Space): Fitted {
  const [rows = 1, columns = 1] = body.values.shape;
  const below = (body.column_labels.length ? 18 : 0) + (body.column_title ? 16 : 0) + 4;
  const cell = (space.height - around(body) - below) / rows;
  const longest = Math.max(0, ...body.row_labels.map((label) => label.length));
  const left = (longest ? 10 + longest * 6.4 : 0) + (body.row_title ? 16 : 0) + 1;
  const size = Math.max(5, Math.min(cell, (space.width - left) / columns, space.enlarged ? 64 : 28));
  return { body: { ...body, size }, width: Math.ceil(left + columns * size) };
}

/** Whether the height is known from the sizes of the marks. */
function scales(node: Node): boolean {
  if (node.mark === "group") return node.children.every(scales);
  return ["tiles", "lines", "ridges", "field", "image", "bars", "heatmap"].includes(node.mark);
}

/** Title, legend and caption. */
function around(node: Node): number {
  const scale = "limits" in node && node.limits && "scale" in node.limits ? node.limits.scale : "grey";
  const detail = node.mark === "lines" && (node.y_title || node.y_log || node.series.length > 1);
  const head = node.title || scale !== "grey" || detail ? HEAD : 0;
  return head + (node.caption ? CAPTION : 0) + (node.handle?.kind === "slide" ? SLIDE : 0);
}

function heightOf(node: Node, width: number, factor: number): number {
  switch (node.mark) {
    case "group":
      return groupHeight(node, width, factor);
    case "tiles":
      return tilesHeight(node, width, factor) + around(node);
    case "lines":
    case "ridges":
      return Math.max(LEAST_CHART, node.height * factor) + around(node);
    case "field": {
      const [low, high, bottom, top] = node.extent;
      const aspect = Math.abs((top - bottom) / (high - low));
      const ratio = aspect > 0.4 && aspect < 1.6 ? aspect : 0.8;
      return Math.min(node.size * factor, width - 50) * ratio + 44 + (node.classes.length ? HEAD : 0) + around(node);
    }
    case "image": {
      const [rows = 1, columns = 1] = node.pixels.shape;
      const apart = node.heat ? 17 : 0;
      const second = node.title && (node.heat || (node.limits && node.limits.scale !== "grey")) ? 17 : 0;
      const told = node.caption ? 16 * (Math.ceil((node.caption.length * 5.7) / width) - 1) : 0;
      const tall = (Math.min(width, node.size * Math.max(LEAST, factor)) * rows) / columns;
      return tall + (node.label ? 18 : 0) + apart + second + told + around(node);
    }
    case "heatmap": {
      const below = (node.column_labels.length ? 18 : 0) + (node.column_title ? 16 : 0) + 4;
      return (node.values.shape[0] ?? 1) * Math.max(3, node.size * factor) + below + around(node);
    }
    case "bars":
      return (node.horizontal ? node.values.data.length * 19 : 74) + around(node);
    default:
      return 0;
  }
}

function tilesHeight(node: Tiles, width: number, factor: number): number {
  const [count = 0, rows = 1, columns = 1] = node.images.shape;
  const wanted = Math.round(node.size * Math.max(LEAST, factor));
  // A few pixels less than there are: a scroll bar may come between.
  const across = node.columns ?? Math.max(1, Math.floor((width - 8) / (wanted + 4)));
  const side = Math.min(wanted, (width - 4 * (across - 1)) / across);
  const tall = (side * rows) / columns + (node.labels.length ? LABEL : 0) + (node.notes.length ? LABEL : 0) + 5;
  return Math.ceil(count / across) * tall;
}

function groupHeight(node: Group, width: number, factor: number): number {
  const own = (node.title ? HEAD + 4 : 0) + (node.caption ? CAPTION : 0);
  const { children } = node;
  if (node.direction === "column") {
    const named = isNamed(node);
    const heights = children.map((child) => heightOf(child, width - (named ? NAMES : 0), factor) - (named ? HEAD : 0));
    return own + sum(heights.map((height) => (named ? Math.max(40, height) : height))) + (children.length - 1) * (named ? 8 : 12);
  }
  if (isPictures(node)) return own + wrapped(children, width, factor);
  const across = Math.max(1, Math.min(children.length, Math.floor((width + 16) / 196)));
  const each = (width - 16 * (across - 1)) / across;
  let total = own;
  for (let i = 0; i < children.length; i += across)
    total += 12 + Math.max(...children.slice(i, i + across).map((child) => heightOf(child, each, factor)));
  return total - 12;
}

/** The height of a grid: as many side by side as the width takes. */
function wrapped(children: readonly Node[], width: number, factor: number): number {
  let total = 0;
  let across = 0;
  let tallest = 0;
  for (const child of children) {
    const wide = Math.min(width, widthOf(child, factor));
    if (across && across + wide > width) {
      total += tallest + 12;
      across = tallest = 0;
    }
    tallest = Math.max(tallest, heightOf(child, wide, factor));
    across += wide + 16;
  }
  return total + tallest;
}

/** How wide a mark stands in a grid; the style sheet gives pictures at least so much that their titles can be read. */
function widthOf(node: Node, factor: number): number {
  if (node.mark === "image") return Math.max(LEAST_CELL, Math.round(node.size * Math.max(LEAST, factor)));
  if (node.mark === "field") return node.size * factor + 50;
  if (node.mark !== "group") return CHART_CELL;
  const widths = node.children.map((child) => widthOf(child, factor));
  return node.direction === "column" ? Math.max(0, ...widths) : sum(widths) + 16 * (widths.length - 1);
}

/** Names stand in a column of their own, as the marks lay out such a group. */
function isNamed(node: Group): boolean {
  return (
    node.children.length > 1 &&
    node.children.every((child) => (child.mark === "tiles" || child.mark === "heatmap") && child.title && child.title.length <= 28)
  );
}

function scaled(node: Node, factor: number): Node {
  if (node.mark === "group") return { ...node, children: node.children.map((child) => scaled(child, factor)) };
  if (node.mark === "lines" || node.mark === "ridges")
    return { ...node, height: Math.max(LEAST_CHART, Math.round(node.height * factor)) };
  if (node.mark === "field") return { ...node, size: Math.max(60, Math.round(node.size * factor)) };
  if (node.mark === "heatmap") return { ...node, size: Math.max(3, node.size * factor) };
  if ("size" in node) return { ...node, size: Math.round(node.size * Math.max(LEAST, factor)) };
  return node;
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
