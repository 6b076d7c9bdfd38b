// The same point in maps side by side, joined by a line: where it lies here, and where there.

import type { Drawn } from "./context.ts";
import { svg } from "./elements.ts";

/** A mark has put its points elsewhere, or others are chosen. */
export const MOVED = "moved";

type Place = readonly [number, number];
type Chart = Pick<Drawn<never>, "spots">;

export interface Joins {
  /** Draw the lines between maps that stand in one row. */
  draw(maps: readonly Chart[]): void;
  destroy(): void;
}

/** Lines over an element, whose places are on the screen. */
export function joins(element: HTMLElement): Joins {
  const sheet = svg("svg", { class: "joins", "aria-hidden": "true" });
  return {
    draw(maps) {
      const lines = linesBetween(maps.map((map) => map.spots?.()).filter((one) => one !== undefined));
      if (!lines.length) return sheet.remove();
      if (sheet.parentNode !== element) element.append(sheet);
      const { left, top } = element.getBoundingClientRect();
      sheet.replaceChildren(...lines.map(([[x1, y1], [x2, y2]]) => svg("line", {
        x1: String(x1 - left), y1: String(y1 - top), x2: String(x2 - left), y2: String(y2 - top),
      })));
    },
    destroy() {
      sheet.remove();
    },
  };
}

/** From each map to the next a line for each point that both know. */
export function linesBetween(maps: readonly ReadonlyMap<string, Place>[]): [Place, Place][] {
  const found: [Place, Place][] = [];
  maps.forEach((here, i) => {
    const next = maps[i + 1];
    for (const [key, from] of next ? here : []) {
      const to = next?.get(key);
      if (to) found.push([from, to]);
    }
  });
  return found;
}
