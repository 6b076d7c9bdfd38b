// A plane of a fixed size in the room that there is: made smaller where it is wider, and fitted anew when the room changes.

import type { Drawn } from "./context.ts";

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
  const watch = new ResizeObserver(fit);
  watch.observe(room);
  return {
    ...drawn,
    destroy() {
      watch.disconnect();
      drawn.destroy();
    },
  };
}
