// A plane of a fixed size in the room that there is: made smaller where it is wider, and fitted anew when the room changes; what does not fit even so scrolls.

import type { Drawn } from "./context.ts";
import { edges } from "./edges.ts";

/** Size a plane and scale it down to the share of it that fits; what it then leaves free is taken back. The scale is returned. */
export function shrink(plane: HTMLElement, width: number, height: number, share: number, smallest: number): number {
  const scale = Math.max(smallest, Math.min(1, share));
  plane.style.width = `${width}px`;
  plane.style.height = `${height}px`;
  plane.style.transform = scale < 1 ? `scale(${scale})` : "none";
  plane.style.marginBottom = `${-height * (1 - scale)}px`;
  plane.style.marginRight = `${-width * (1 - scale)}px`;
  return scale;
}

/** A drawn mark that is fitted anew whenever its room changes. */
export function fitted<M>(room: HTMLElement, fit: () => void, drawn: Drawn<M>): Drawn<M> {
  const side = edges(room, fit);
  return {
    ...drawn,
    update(mark) {
      drawn.update(mark);
      side.look();
    },
    destroy() {
      side.destroy();
      drawn.destroy();
    },
  };
}
