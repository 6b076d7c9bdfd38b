// The same pixel in all pictures of a group: where the pointer is in one, the others show a cross and their own value.

import type { Pixel } from "./context.ts";
import { make, setText } from "./elements.ts";

/** Told from a picture to the group that it lies in. */
export const PIXEL = "pixel";

export interface Crosshair {
  show(at: Pixel, value: string): void;
  hide(): void;
}

/** Tell the groups around a picture which pixel the pointer is on. */
export function tellPixel(element: HTMLElement, at: Pixel | null): void {
  element.dispatchEvent(new CustomEvent<Pixel | null>(PIXEL, { bubbles: true, detail: at }));
}

/** A cross over a plate, with room for the value; made when it is first shown. */
export function crosshair(plate: HTMLElement): Crosshair {
  let cross: HTMLElement | null = null;
  const across = make("i", "cross-row");
  const down = make("i", "cross-column");
  const told = make("span", "cross-value");
  return {
    show(at, value) {
      if (!cross) {
        cross = make("div", "cross");
        cross.setAttribute("aria-hidden", "true");
        cross.append(across, down, told);
        plate.append(cross);
      }
      cross.hidden = false;
      cross.style.setProperty("--x", String((at.column + 0.5) / at.width));
      cross.style.setProperty("--y", String((at.row + 0.5) / at.height));
      cross.classList.toggle("low", at.row < at.height / 2);
      setText(told, value);
    },
    hide() {
      if (cross) cross.hidden = true;
    },
  };
}
