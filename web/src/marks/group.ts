// Marks side by side, one below the other, or in a wrapping grid.

import type { Group, Node } from "../types.ts";
import type { Drawn, Pixel } from "./context.ts";
import { PIXEL } from "./crosshair.ts";
import { make } from "./elements.ts";
import { LEAST, type Draw, type Measures } from "./half.ts";
import { titleLines } from "./image.ts";
import { MOVED, joins } from "./joins.ts";

/** The room that titles and captions take, and what stands between marks. */
const HEAD = 23;
const NAMES = 76;
const GAP = 12;

export const draw: Draw<Group> = (element, first, context, any) => {
  element.classList.add("mark", "mark-group");
  const title = make("div", "mark-title");
  const list = make("div", "group");
  const caption = make("div", "mark-caption");
  element.replaceChildren(title, list, caption);
  const children: { element: HTMLElement; drawn: Drawn<Node> }[] = [];
  const point = (at: Pixel | null): void => {
    for (const child of children) child.drawn.point?.(at);
  };
  // Where the pointer is in one picture is shown in all: the outermost group tells them.
  const heard = (event: Event): void => {
    if (element.parentElement?.closest(".mark-group")) return;
    point((event as CustomEvent<Pixel | null>).detail);
  };
  list.addEventListener(PIXEL, heard);
  const lines = joins(list);
  const join = (): void => lines.draw(children.map((child) => child.drawn));
  list.addEventListener(MOVED, join);

  function update(mark: Group): void {
    title.textContent = mark.title;
    title.hidden = !mark.title;
    caption.textContent = mark.caption;
    caption.hidden = !mark.caption;
    list.classList.toggle("doubted", mark.doubted);
    list.dataset["direction"] = mark.direction;
    list.dataset["labelled"] = String(labelled(mark));
    list.dataset["pictures"] = String(isPictures(mark));
    // Pictures side by side stand in one line, however many lines their titles take.
    list.style.setProperty("--lines", String(Math.max(1, ...mark.children.map((child) => (child.mark === "image" ? titleLines(child.title, Math.max(LEAST.picture, child.size)) : 1)))));
    while (children.length > mark.children.length) {
      const child = children.pop();
      child?.drawn.destroy();
      child?.element.remove();
    }
    mark.children.forEach((node, i) => {
      const child = children[i];
      if (child) child.element.style.setProperty("--cell", sizeOf(node));
      if (child) {
        child.drawn.update(node);
        child.element.dataset["mark"] = node.mark;
        return;
      }
      const place = make("div", "group-item");
      place.dataset["mark"] = node.mark;
      place.style.setProperty("--cell", sizeOf(node));
      list.append(place);
      children.push({ element: place, drawn: any(place, node, context, any) });
    });
  }

  update(first);
  return {
    update,
    point,
    refresh() {
      for (const child of children) child.drawn.refresh();
    },
    destroy() {
      list.removeEventListener(PIXEL, heard);
      list.removeEventListener(MOVED, join);
      lines.destroy();
      for (const child of children) child.drawn.destroy();
      element.replaceChildren();
    },
  };
};

/** The width that a picture wants. */
function sizeOf(node: Node): string {
  return node.mark === "image" ? `${node.size}px` : "auto";
}

/** Pictures stand as close as their own sizes let them, not in columns of equal width. */
export function isPictures(mark: Group): boolean {
  return mark.direction === "grid" || (mark.direction === "row" && mark.children.length > 1 && mark.children.every((child) => child.mark === "image"));
}

/** A column of pictures with short names reads best with the names in a column of their own. */
export function labelled(mark: Group): boolean {
  return mark.direction === "column" && mark.children.length > 1 &&
    mark.children.every((child) => (child.mark === "tiles" || child.mark === "heatmap") && child.title.length > 0 && child.title.length <= 28);
}

export function height(mark: Group, width: number, factor: number, of: Measures): number {
  const own = mark.title ? 4 : 0;
  const { children } = mark;
  if (mark.direction === "column") {
    const named = labelled(mark);
    const heights = children.map((child) => of.height(child, width - (named ? NAMES : 0), factor) - (named ? HEAD : 0));
    return own + sum(heights.map((height) => (named ? Math.max(40, height) : height))) + (children.length - 1) * (named ? 8 : GAP);
  }
  if (isPictures(mark)) return own + wrapped(children, width, factor, of);
  const across = Math.max(1, Math.min(children.length, Math.floor((width + 16) / 196)));
  const each = (width - 16 * (across - 1)) / across;
  let total = own;
  for (let i = 0; i < children.length; i += across)
    total += GAP + Math.max(...children.slice(i, i + across).map((child) => of.height(child, each, factor)));
  return total - GAP;
}

export function width(mark: Group, factor: number, of: Measures): number {
  const widths = mark.children.map((child) => of.width(child, factor));
  return mark.direction === "column" ? Math.max(0, ...widths) : sum(widths) + 16 * (widths.length - 1);
}

export function scaled(mark: Group, factor: number, of: Measures): Group {
  return { ...mark, children: mark.children.map((child) => of.scaled(child, factor)) };
}

/** The height of a grid: as many side by side as the width takes. */
function wrapped(children: readonly Node[], width: number, factor: number, of: Measures): number {
  let total = 0;
  let across = 0;
  let tallest = 0;
  for (const child of children) {
    const wide = Math.min(width, of.width(child, factor));
    if (across && across + wide > width) {
      total += tallest + GAP;
      across = tallest = 0;
    }
    tallest = Math.max(tallest, of.height(child, wide, factor));
    across += wide + GAP;
  }
  return total + tallest;
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
