// A canvas as wide as its place, in device pixels, painted again when the width or the screen's density changes.

import type { Theme } from "../colour.ts";
import { context2d } from "./cells.ts";
import { make } from "./elements.ts";

export interface Sheet {
  readonly element: HTMLElement;
  readonly canvas: HTMLCanvasElement;
  /** Paint now. */
  paint(): void;
  destroy(): void;
}

/** `height` gives the wanted height for a width in CSS pixels; `draw` paints in CSS pixels. */
export function sheet(
  parent: HTMLElement,
  height: (width: number) => number,
  draw: (pen: CanvasRenderingContext2D, width: number, height: number) => void,
): Sheet {
  const element = make("div", "sheet");
  const canvas = make("canvas", "sheet-canvas");
  canvas.setAttribute("aria-hidden", "true");
  element.append(canvas);
  parent.append(element);
  let width = 0;

  function paint(): void {
    width ||= Math.floor(element.clientWidth); // asked only once: the observer tells of every change
    if (!width) return; // hidden: painted when it gets a width
    const tall = Math.max(1, Math.round(height(width)));
    const density = Math.max(1, devicePixelRatio || 1);
    const [across, down] = [Math.round(width * density), Math.round(tall * density)];
    if (canvas.width !== across) canvas.width = across;
    if (canvas.height !== down) canvas.height = down;
    canvas.style.width = `${width}px`;
    canvas.style.height = `${tall}px`;
    const pen = context2d(canvas);
    pen.setTransform(density, 0, 0, density, 0, 0);
    pen.clearRect(0, 0, width, tall);
    draw(pen, width, tall);
  }

  const watch = new ResizeObserver(() => {
    const now = Math.floor(element.clientWidth);
    if (now === width) return;
    width = now;
    paint();
  });
  watch.observe(element);
  // Canvases do not wait for fonts: what was written in a stand-in is written again.
  document.fonts.addEventListener("loadingdone", paint);
  return {
    element,
    canvas,
    paint,
    destroy() {
      watch.disconnect();
      document.fonts.removeEventListener("loadingdone", paint);
      element.remove();
    },
  };
}

export interface Ink {
  readonly paper: string;
  readonly ink: string;
  readonly muted: string;
  readonly hairline: string;
  readonly accent: string;
  readonly wash: string;
}

const known = new Map<Theme, Ink>();

/** The colours of the theme, as the style sheet has them; canvases cannot read custom properties by themselves. */
export function inks(element: HTMLElement, theme: Theme): Ink {
  const before = known.get(theme);
  if (before) return before;
  const style = getComputedStyle(element);
  const read = (name: string): string => style.getPropertyValue(name).trim();
  const found = {
    paper: read("--paper"), ink: read("--ink"), muted: read("--muted"),
    hairline: read("--hairline"), accent: read("--accent"), wash: read("--wash"),
  };
  if (found.paper) known.set(theme, found); // not before the style sheet is there
  return found;
}

/** The page's text face at a size, for canvases. */
export function face(size: number, weight = 400): string {
  return `${weight} ${size}px "Inter Variable", Inter, system-ui, sans-serif`;
}

/** The text, shortened with an ellipsis to a width; dotted names lose their middle, since their ends tell them apart. */
export function fit(pen: CanvasRenderingContext2D, text: string, width: number): string {
  if (pen.measureText(text).width <= width) return text;
  const cut = (length: number): string => shortened(text, length);
  let low = 0;
  let high = text.length;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (pen.measureText(cut(middle)).width <= width) low = middle;
    else high = middle - 1;
  }
  return low ? cut(low) : "";
}

/** So many characters of a text, with an ellipsis where it is cut. */
export function shortened(text: string, length: number): string {
  const end = text.includes(".") && !text.includes(" ") ? Math.ceil((length * 2) / 3) : 0;
  return `${text.slice(0, length - end)}…${end ? text.slice(-end) : ""}`;
}
