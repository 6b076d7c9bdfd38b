// A place on a picture that a person drags, or moves with the arrow keys: "row,column" in the picture's own pixels.

import type { Handle } from "../types.ts";
import { ARROWS } from "./arrows.ts";
import type { Context } from "./context.ts";
import { make, setAttribute } from "./elements.ts";
import { HELD } from "./handle.ts";

export interface Place {
  update(handle: Handle | null, height: number, width: number): void;
  destroy(): void;
}

const FAR = 5;

/** Put a handle on a plate whose pixels are `pixels`; the whole plate takes the pointer. */
export function placeOn(plate: HTMLElement, pixels: HTMLElement, context: Context): Place {
  const knob = make("div", "place");
  knob.setAttribute("role", "slider");
  knob.hidden = true;
  plate.append(knob);
  const stop = new AbortController();
  const listen = { signal: stop.signal };
  let handle: Handle | null = null;
  let size = { height: 1, width: 1 };
  let at = { row: 0, column: 0 };
  let dragging = false;
  let heldUntil = 0;

  const free = (): boolean => handle !== null && !context.fixed;
  const text = (): string => `${at.row},${at.column}`;

  function put(row: number, column: number, moving: boolean): void {
    const next = { row: inside(row, size.height), column: inside(column, size.width) };
    const same = next.row === at.row && next.column === at.column;
    at = next;
    show();
    heldUntil = performance.now() + HELD;
    if (handle && (!same || !moving || handle.value === "")) context.set(handle.knob, text(), moving);
  }

  function drag(event: PointerEvent, moving = true): void {
    const box = pixels.getBoundingClientRect();
    if (!box.width || !box.height) return;
    const row = ((event.clientY - box.top) / box.height) * size.height;
    put(Math.floor(row), Math.floor(((event.clientX - box.left) / box.width) * size.width), moving);
  }

  plate.addEventListener("pointerdown", (event) => {
    if (!free() || event.button !== 0) return;
    event.preventDefault();
    plate.setPointerCapture(event.pointerId);
    dragging = true;
    knob.focus({ preventScroll: true });
    drag(event);
  }, listen);
  plate.addEventListener("pointermove", (event) => {
    if (dragging) drag(event);
  }, listen);
  plate.addEventListener("pointerup", (event) => {
    if (!dragging) return;
    dragging = false;
    drag(event, false);
  }, listen);
  plate.addEventListener("pointercancel", () => (dragging = false), listen);
  // A click that moved the handle chooses nothing besides.
  plate.addEventListener("click", (event) => {
    if (free()) event.stopPropagation();
  }, listen);
  knob.addEventListener("keydown", (event) => {
    const way = ARROWS[event.key];
    if (!way || !free() || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    event.stopPropagation();
    const by = event.shiftKey ? FAR : 1;
    put(at.row + by * way[1], at.column + by * way[0], event.repeat);
  }, listen);

  function show(): void {
    knob.style.setProperty("--x", String((at.column + 0.5) / size.width));
    knob.style.setProperty("--y", String((at.row + 0.5) / size.height));
    setAttribute(knob, "aria-valuenow", String(at.row * size.width + at.column));
    setAttribute(knob, "aria-valuetext", `row ${at.row}, column ${at.column}`);
  }

  return {
    update(next, height, width) {
      handle = next?.kind === "point" ? next : null;
      size = { height, width };
      knob.hidden = !handle;
      plate.classList.toggle("draggable", free());
      if (!handle) return;
      const asked = read(handle.value);
      if (asked && asked.row === at.row && asked.column === at.column) heldUntil = 0;
      // Pictures of places that the handle has left do not pull it back.
      else if (!dragging && performance.now() > heldUntil) at = asked ?? { row: Math.floor(height / 2), column: Math.floor(width / 2) };
      knob.classList.toggle("unset", handle.value === "");
      knob.tabIndex = free() ? 0 : -1;
      setAttribute(knob, "aria-label", `${handle.knob.replaceAll("_", " ")}: drag it over the picture, or use the arrow keys`);
      setAttribute(knob, "aria-disabled", free() ? null : "true");
      setAttribute(knob, "aria-valuemin", "0");
      setAttribute(knob, "aria-valuemax", String(height * width - 1));
      show();
    },
    destroy: () => stop.abort(),
  };
}

function inside(at: number, count: number): number {
  return Math.max(0, Math.min(count - 1, at));
}

function read(text: string): { row: number; column: number } | null {
  const [row, column] = text.split(",").map((part) => Math.round(Number(part)));
  return text && Number.isFinite(row) && Number.isFinite(column) ? { row: row!, column: column! } : null;
}
