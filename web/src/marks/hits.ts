// Hover, choosing and the keyboard over a canvas: the mark says what is where; rings, tooltip and tab stop are made here.

import { ARROWS } from "./arrows.ts";
import { howOf, type Context } from "./context.ts";
import { make, setAttribute } from "./elements.ts";
import { hideTip, showTip } from "./tooltip.ts";

export interface Hit {
  readonly id: string;
  readonly keys: readonly string[];
  readonly lines: readonly string[];
  /** The ring, in the sheet's CSS pixels. */
  readonly x: number;
  readonly y: number;
  readonly width: number;
  readonly height: number;
  readonly round?: boolean;
  /** The item's own picture, beside the words. */
  readonly picture?: HTMLCanvasElement;
  /** What clicking does besides choosing the keys. */
  act?(): void;
}

export interface Places {
  at(x: number, y: number): Hit | null;
  /** Where an arrow key leads; from nowhere it leads to the first place, without a way to where the place is now. */
  from(current: Hit | null, dx: number, dy: number): Hit | null;
  /** All keys between two places, for choosing a range. */
  between?(from: Hit, to: Hit): string[];
}

export interface Hits {
  /** The data changed, and the picture is painted: what has the focus keeps its place, as far as it is still there. */
  reset(label: string): void;
  destroy(): void;
}

/** Make the places on a sheet answer to pointer and keyboard. */
export function hits(surface: HTMLElement, context: Context, places: Places): Hits {
  const ring = make("div", "ring");
  const spot = make("div", "spot");
  ring.hidden = true;
  spot.tabIndex = 0;
  spot.setAttribute("role", "button");
  surface.append(ring, spot);
  let focused: Hit | null = null;
  let anchor: Hit | null = null;
  const stop = new AbortController();
  const listen = { signal: stop.signal };

  surface.addEventListener("pointermove", (event) => {
    const box = surface.getBoundingClientRect();
    const hit = places.at(event.clientX - box.left, event.clientY - box.top);
    ring.hidden = !hit;
    surface.classList.toggle("pointing", Boolean(hit && (hit.keys.length || hit.act)));
    if (!hit) return leave();
    put(ring, hit);
    showTip(surface, event.clientX, event.clientY, hit.lines, hit.picture);
    const key = hit.keys[0] ?? null;
    if (key !== context.hovered) context.hover(key);
  }, listen);
  surface.addEventListener("pointerleave", () => {
    ring.hidden = true;
    leave();
  }, listen);

  function leave(): void {
    hideTip();
    if (context.hovered !== null) context.hover(null);
  }

  surface.addEventListener("click", (event) => {
    const box = surface.getBoundingClientRect();
    const hit = places.at(event.clientX - box.left, event.clientY - box.top);
    if (hit) choose(hit, event);
  }, listen);

  function choose(hit: Hit, event: MouseEvent | KeyboardEvent): void {
    const how = howOf(event);
    if (hit.keys.length) {
      const keys = how === "range" && anchor && places.between ? places.between(anchor, hit) : [...hit.keys];
      context.select(keys, how);
      if (how === "one" || how === "toggle") anchor = hit;
    }
    hit.act?.();
  }

  function stand(hit: Hit | null): void {
    focused = hit;
    if (!hit) return;
    put(spot, hit);
    spot.setAttribute("aria-label", hit.lines.filter(Boolean).join(", "));
    setAttribute(spot, "data-key", hit.keys.join(" ") || null);
  }

  spot.addEventListener("focus", () => {
    stand(focused ?? places.from(null, 0, 0));
    if (focused && spot.matches(":focus-visible")) tell(focused);
  }, listen);
  spot.addEventListener("blur", hideTip, listen);
  spot.addEventListener("keydown", (event) => {
    const arrow = ARROWS[event.key];
    if (event.key === "Enter" || event.key === " ") {
      if (focused) choose(focused, event);
    } else if (arrow) {
      const next = places.from(focused, arrow[0], arrow[1]);
      if (next) {
        stand(next);
        tell(next);
      }
    } else return;
    event.preventDefault();
    event.stopPropagation();
  }, listen);

  function tell(hit: Hit): void {
    spot.scrollIntoView({ block: "nearest", inline: "nearest" });
    const box = surface.getBoundingClientRect();
    showTip(surface, box.left + hit.x + hit.width, box.top + hit.y + hit.height / 2, hit.lines, hit.picture);
  }

  return {
    reset(label) {
      ring.hidden = true;
      // A live training sends one picture after the other: none of them takes a person back to the first place.
      focused = focused && places.from(focused, 0, 0);
      if (focused && spot.matches(":focus")) stand(focused);
      else setAttribute(spot, "aria-label", label);
    },
    destroy() {
      stop.abort();
      hideTip();
      ring.remove();
      spot.remove();
    },
  };
}

function put(element: HTMLElement, hit: Hit): void {
  element.style.left = `${hit.x}px`;
  element.style.top = `${hit.y}px`;
  element.style.width = `${hit.width}px`;
  element.style.height = `${hit.height}px`;
  element.classList.toggle("round", hit.round === true);
}
