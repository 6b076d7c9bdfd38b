// Draws pictures: the page, the notebook widget and exported files all come in here.

import type { Node, Picture } from "../types.ts";
import type { Context, Drawn } from "./context.ts";
import { make } from "./elements.ts";
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

/**
 * Draw any mark; when an update brings another kind of mark, the old one makes room for it. A half that throws is told in its own
 * place and takes no other with it; what comes next is drawn anew.
 */
function drawNode(element: HTMLElement, first: Node, context: Context): Drawn<Node> {
  const plain = element.className;
  let kind = first.mark;
  let drawn: Drawn<never> | null = null;

  function attempt<T>(act: () => T): T | undefined {
    try {
      return act();
    } catch (error) {
      console.error(error);
      end();
      element.replaceChildren(make("p", "mark-failed", `The mark '${kind}' could not be drawn: ${error instanceof Error ? error.message : String(error)}`));
      return undefined;
    }
  }
  function begin(mark: Node): void {
    kind = mark.mark;
    drawn = attempt(() => start(element, mark, context)) ?? null;
  }
  function end(): void {
    const last = drawn;
    drawn = null;
    try {
      last?.destroy();
    } catch (error) {
      console.error(error);
    }
    element.className = plain;
  }

  begin(first);
  return {
    update(next) {
      const same = drawn;
      if (same && next.mark === kind) attempt(() => same.update(next as never));
      else {
        end();
        element.replaceChildren();
        begin(next);
      }
    },
    refresh: () => attempt(() => drawn?.refresh()),
    point: (at) => attempt(() => drawn?.point?.(at)),
    spots: () => attempt(() => drawn?.spots?.()),
    destroy: end,
  };
}

function start(element: HTMLElement, mark: Node, context: Context): Drawn<never> {
  const draw = HALVES[mark.mark]?.draw as Draw<never> | undefined;
  if (!draw) throw new Error("this page is older than the picture, and has no such mark");
  return draw(element, mark as never, context, drawNode);
}
