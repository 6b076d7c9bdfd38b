// Choosing by pointer and keyboard, the same for every mark whose parts are elements: one tab stop, arrows move, Enter chooses.

import { Chosen, howOf, type Context, type Drawn } from "./context.ts";
import { hideTip, showTip } from "./tooltip.ts";

export interface Part {
  /** What clicking chooses; without keys the part only tells about itself. */
  readonly keys: readonly string[];
  /** What it is, in a few lines; the place under the pointer is given as shares of the part's width and height. */
  describe(at: { x: number; y: number } | null): string[];
  /** Instead of the keys: what clicking that place of the part chooses. */
  choose?(at: { x: number; y: number }): readonly string[];
  /** Instead of the keys: what choosing it without a place chooses, by keyboard or beside all places. */
  readonly otherwise?: readonly string[];
  /** Instead of the first key: what the pointer rests on at that place. */
  rests?(at: { x: number; y: number }): string | null;
  /** What it is to a screen reader, where it is not what the others are. */
  readonly role?: string;
  /** The element within the part whose width and height `at` is a share of. */
  readonly over?: string;
}

export interface Keyed {
  /** Say what the elements are now, in order. */
  set(elements: readonly HTMLElement[], parts: readonly Part[]): void;
  refresh(): void;
  destroy(): void;
}

/** Make the parts of a mark choosable. `dim` lets the others step back while one of them is chosen; `runs`: drawing over several chooses them. */
export function keyed(root: HTMLElement, context: Context, options: { dim?: boolean; role?: string; runs?: boolean } = {}): Keyed {
  const parts = new Map<Element, Part>();
  let order: HTMLElement[] = [];
  /** The key from which a range goes on: parts may come to stand for others meanwhile. */
  let anchor: string | null = null;
  const stop = new AbortController();
  const listen = { signal: stop.signal };

  const partOf = (target: EventTarget | null): HTMLElement | null => {
    for (let node = target as HTMLElement | null; node && node !== root.parentElement; node = node.parentElement) {
      if (parts.has(node)) return node;
    }
    return null;
  };

  root.addEventListener("pointermove", (event) => {
    const element = partOf(event.target);
    const part = element && parts.get(element);
    if (!element || !part) return leave();
    const at = shares(element, event, part.over);
    showTip(root, event.clientX, event.clientY, part.describe(at));
    const key = (at && part.rests?.(at)) ?? part.keys[0] ?? null;
    if (key !== context.hovered) context.hover(key);
  }, listen);
  root.addEventListener("pointerleave", leave, listen);

  function leave(): void {
    hideTip();
    if (context.hovered !== null) context.hover(null);
  }

  root.addEventListener("click", (event) => {
    const element = partOf(event.target);
    if (!element || (event.target as HTMLElement).closest("button") !== null && !parts.has(event.target as HTMLElement)) return;
    choose(element, event, shares(element, event, parts.get(element)?.over));
  }, listen);

  if (options.runs) {
    let from: HTMLElement | null = null;
    root.addEventListener("pointerdown", (event) => {
      from = event.button === 0 && howOf(event) === "one" ? partOf(event.target) : null;
    }, listen);
    root.addEventListener("pointerup", (event) => {
      const to = partOf(event.target);
      // Within one part it is a click; a run that ends elsewhere is none.
      if (!from || !to || from === to || !order.length) return;
      anchor = from.dataset["key"] ?? null;
      // What the browser marks on the way is not what is chosen, and would lie over it.
      getSelection()?.removeAllRanges();
      const keys = between(from, to);
      if (keys.length) context.select(keys, "one");
      moveTabStop(to);
    }, listen);
  }

  /** The keys of all parts from one to another, in order. */
  function between(one: HTMLElement, other: HTMLElement): string[] {
    const [from, to] = [order.indexOf(one), order.indexOf(other)].sort((a, b) => a - b);
    return order.slice(from, (to ?? 0) + 1).flatMap((item) => [...(parts.get(item)?.keys ?? [])]);
  }

  function choose(element: HTMLElement, event: MouseEvent | KeyboardEvent, at: { x: number; y: number } | null): void {
    const part = parts.get(element);
    const keys = (at && part?.choose?.(at)) ?? part?.otherwise ?? part?.keys ?? [];
    if (!keys.length) return;
    const how = howOf(event);
    const first = how === "range" && anchor ? order.find((item) => item.dataset["key"] === anchor) : undefined;
    if (first) {
      context.select(between(first, element), "range");
    } else {
      context.select([...keys], how);
    }
    if (how !== "against" && how !== "against too") anchor = element.dataset["key"] ?? null;
    moveTabStop(element);
  }

  root.addEventListener("keydown", (event) => {
    const element = partOf(event.target);
    if (!element || event.target !== element) return;
    if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      event.stopPropagation();
      choose(element, event, null);
      return;
    }
    const next = neighbour(order, element, event.key);
    if (!next) return;
    event.preventDefault();
    event.stopPropagation();
    moveTabStop(next);
    next.focus();
  }, listen);
  root.addEventListener("focusin", (event) => {
    const element = partOf(event.target);
    const part = element && parts.get(element);
    if (!element || !part || !element.matches(":focus-visible")) return;
    const box = element.getBoundingClientRect();
    showTip(root, box.left, box.bottom, part.describe(null));
  }, listen);
  root.addEventListener("focusout", hideTip, listen);

  function moveTabStop(element: HTMLElement): void {
    for (const item of order) item.tabIndex = item === element ? 0 : -1;
  }

  return {
    set(elements, described) {
      parts.clear();
      const focusable = described.some((part) => part.keys.length);
      const before = order.find((item) => item.tabIndex === 0);
      const reader = order.find((item) => item === document.activeElement);
      const read = reader?.dataset["key"];
      elements.forEach((element, i) => {
        const part = described[i];
        if (!part) return;
        parts.set(element, part);
        const key = part.keys.join(" ");
        if (key) element.dataset["key"] = key;
        else delete element.dataset["key"];
        element.classList.toggle("choosable", part.keys.length > 0);
        element.setAttribute("role", focusable ? part.role ?? options.role ?? "option" : "img");
        element.setAttribute("aria-label", part.describe(null).filter(Boolean).join(", "));
      });
      order = focusable ? [...elements] : [];
      if (order.length) moveTabStop(before && order.includes(before) ? before : (order[0] as HTMLElement));
      else for (const element of elements) element.removeAttribute("tabindex");
      // Who reads on by keyboard stays at the same token, also where the text was moved along.
      const there = read && reader?.dataset["key"] !== read ? order.find((item) => item.dataset["key"] === read) : undefined;
      if (there) {
        moveTabStop(there);
        there.focus({ preventScroll: true });
      }
      this.refresh();
    },
    refresh() {
      const chosen = new Chosen(context.selection);
      const against = new Chosen(context.against);
      // Others step back only beside what is chosen: where it is not among the parts, all of them matter alike.
      const some = options.dim === true && [...parts.values()].some((part) => part.keys.some((key) => chosen.has(key)));
      for (const [element, part] of parts) {
        const selected = part.keys.some((key) => chosen.has(key));
        const opposed = !selected && part.keys.some((key) => against.has(key));
        const dimmed = some && !selected && !opposed && part.keys.length > 0;
        element.classList.toggle("selected", selected);
        element.classList.toggle("against", opposed);
        element.classList.toggle("hovered", context.hovered !== null && part.keys.includes(context.hovered));
        element.classList.toggle("dimmed", dimmed);
        if (part.keys.length) element.setAttribute(element.getAttribute("role") === "button" ? "aria-pressed" : "aria-selected", String(selected));
      }
    },
    destroy() {
      stop.abort();
      hideTip();
    },
  };
}

function shares(element: HTMLElement, event: MouseEvent, over = ".pixels, .block-maps:not([hidden])"): { x: number; y: number } | null {
  const target = element.querySelector(over) ?? element;
  const box = target.getBoundingClientRect();
  if (!box.width || !box.height) return null;
  const at = { x: (event.clientX - box.left) / box.width, y: (event.clientY - box.top) / box.height };
  return at.x >= 0 && at.x < 1 && at.y >= 0 && at.y < 1 ? at : null;
}

/** The part that an arrow key leads to: along the order sideways, to the nearest one of the next line up and down. */
function neighbour(order: readonly HTMLElement[], from: HTMLElement, key: string): HTMLElement | undefined {
  const at = order.indexOf(from);
  if (key === "ArrowRight") return order[at + 1];
  if (key === "ArrowLeft") return order[at - 1];
  if (key === "Home") return order[0];
  if (key === "End") return order.at(-1);
  if (key !== "ArrowDown" && key !== "ArrowUp") return undefined;
  const here = from.getBoundingClientRect();
  const sign = key === "ArrowDown" ? 1 : -1;
  let best: HTMLElement | undefined;
  let least = Infinity;
  for (const item of order) {
    const box = item.getBoundingClientRect();
    const down = (box.top - here.top) * sign;
    if (down < here.height / 2) continue;
    const distance = down * 1000 + Math.abs(box.left - here.left);
    if (distance < least) [best, least] = [item, distance];
  }
  return best;
}

/** A mark whose parts are choosable elements: `paint` draws what was taken last, and again when the theme has changed. */
export function living<M>(element: HTMLElement, context: Context, keys: Keyed, paint: () => void, take: (mark: M) => void): Drawn<M> {
  let theme = context.theme;

  function draw(): void {
    theme = context.theme;
    paint();
  }

  draw();
  return {
    update(mark) {
      take(mark);
      draw();
    },
    refresh() {
      if (theme === context.theme) keys.refresh();
      else draw();
    },
    destroy() {
      keys.destroy();
      element.replaceChildren();
    },
  };
}
