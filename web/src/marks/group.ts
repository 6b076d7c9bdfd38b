// Marks side by side, one below the other, or in a wrapping grid.

import type { Group, Node } from "../types.ts";
import type { Context, Draw, Drawn, Pixel } from "./context.ts";
import { PIXEL } from "./crosshair.ts";
import { make } from "./elements.ts";

type DrawNode = (element: HTMLElement, node: Node, context: Context) => Drawn<Node>;

/** Built with the function that draws any mark, so that this file does not need to know the others. */
export function group(drawNode: DrawNode): Draw<Group> {
  return (element, first, context) => {
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

    function update(mark: Group): void {
      title.textContent = mark.title;
      title.hidden = !mark.title;
      caption.textContent = mark.caption;
      caption.hidden = !mark.caption;
      list.dataset["direction"] = mark.direction;
      list.dataset["labelled"] = String(labelled(mark));
      list.dataset["pictures"] = String(isPictures(mark));
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
        children.push({ element: place, drawn: drawNode(place, node, context) });
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
        for (const child of children) child.drawn.destroy();
        element.replaceChildren();
      },
    };
  };
}

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
