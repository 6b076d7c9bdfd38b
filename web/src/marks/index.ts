// Draws pictures: the page, the notebook widget and exported files all come in here.

import type { Node, Picture } from "../types.ts";
import type { Context, Drawn } from "./context.ts";
import type { Draw } from "./half.ts";
import { HALVES } from "./halves.ts";

export type { Context, Drawn, How, Pixel, Value } from "./context.ts";

/** Draw a picture's body into an element. The element keeps its other classes; its content is the picture's. */
export function drawPicture(element: HTMLElement, picture: Picture, context: Context): Drawn<Picture> {
  element.classList.add("diorama", "picture");
  element.dataset["theme"] = context.theme;
  const body = drawNode(element, picture.body, context);
  return {
    update: (next) => body.update(next.body),
    refresh() {
      element.dataset["theme"] = context.theme;
      body.refresh();
    },
    destroy() {
      body.destroy();
      element.classList.remove("picture");
    },
  };
}

/** Draw any mark; when an update brings another kind of mark, the old one makes room for it. */
function drawNode(element: HTMLElement, first: Node, context: Context): Drawn<Node> {
  const plain = element.className;
  let kind = first.mark;
  let drawn = start(element, first, context);
  return {
    update(next) {
      if (next.mark === kind) {
        drawn.update(next as never);
        return;
      }
      drawn.destroy();
      element.className = plain;
      kind = next.mark;
      drawn = start(element, next, context);
    },
    refresh: () => drawn.refresh(),
    point: (at) => drawn.point?.(at),
    spots: () => drawn.spots?.(),
    destroy() {
      drawn.destroy();
      element.className = plain;
    },
  };
}

function start(element: HTMLElement, mark: Node, context: Context): Drawn<never> {
  const draw = HALVES[mark.mark]?.draw as Draw<never> | undefined;
  if (!draw) throw new Error(`this page is older than the picture: it has no mark named '${mark.mark}'`);
  return draw(element, mark as never, context, drawNode);
}
