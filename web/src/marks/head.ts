// What stands round every mark: its title, its legend (scale and what it could not show) and its caption.

import { lut, type Theme } from "../colour.ts";
import type { Handle, Limits } from "../types.ts";
import { context2d } from "./cells.ts";
import type { Context } from "./context.ts";
import { make, setText, setTitle } from "./elements.ts";
import { counted, format } from "./format.ts";
import { fieldIn, sliderIn } from "./handle.ts";

export interface Head {
  /** Where the mark draws itself. */
  readonly body: HTMLElement;
  update(mark: { title: string; caption: string; handle: Handle | null; doubted: boolean }, limits: Limits | null, theme: Theme): void;
}

/** Build the frame in an element; with a context, a mark's field is shown beside its title and its slider under it. */
export function head(element: HTMLElement, name: string, context?: Context): Head {
  element.classList.add("mark", `mark-${name}`);
  const top = make("div", "mark-head");
  const title = make("span", "mark-title");
  const legend = make("span", "legend");
  const body = make("div", "mark-body");
  const caption = make("div", "mark-caption");
  top.append(title, legend);
  element.replaceChildren(top, body, caption);
  const draw = legendIn(legend);
  const typed = context && fieldIn(top, context);
  const slid = context && sliderIn(body, context);
  return {
    body,
    update(mark, limits, theme) {
      setTitle(title, mark.title);
      setText(caption, mark.caption);
      title.hidden = !mark.title;
      caption.hidden = !mark.caption;
      body.classList.toggle("doubted", mark.doubted);
      draw(limits, theme);
      typed?.(mark.handle);
      slid?.(mark.handle);
      top.hidden = !mark.title && !limits && !(typed && mark.handle?.kind === "type");
    },
  };
}

/** A scale's legend: its ends, its colours, and a count of NaN, infinite and clipped cells. */
export function legendIn(element: HTMLElement): (limits: Limits | null, theme: Theme) => void {
  const low = make("span", "legend-end");
  const high = make("span", "legend-end");
  const strip = make("canvas", "legend-strip");
  const odd = make("span", "legend-odd");
  element.append(low, strip, high, odd);
  let drawn = "";
  return (limits, theme) => {
    element.hidden = !limits || (limits.scale === "grey" && !limits.nan && !limits.infinite && !limits.clipped);
    if (!limits) return;
    const plain = limits.scale === "grey";
    for (const part of [low, strip, high]) part.hidden = plain;
    setText(low, format(limits.low, 2));
    setText(high, format(limits.high, 2) + (limits.unit ? ` ${limits.unit}` : ""));
    paintStrip(strip, limits.scale, theme);
    const counts = `${limits.nan},${limits.infinite},${limits.clipped}`;
    if (counts === drawn) return;
    drawn = counts;
    odd.replaceChildren(
      ...(limits.nan ? [swatch("nan", `${format(limits.nan)} NaN`)] : []),
      ...(limits.infinite ? [swatch("infinite", `${format(limits.infinite)} infinite`)] : []),
      ...(limits.clipped ? [swatch("clipped", `${format(limits.clipped)} beyond`, `${counted(limits.clipped, "value")} beyond the scale`)] : []),
    );
  };
}

function swatch(name: string, text: string, sentence = text): HTMLElement {
  const element = make("span", "legend-count", text);
  element.title = sentence;
  element.prepend(make("span", `swatch swatch-${name}`));
  return element;
}

function paintStrip(canvas: HTMLCanvasElement, scale: Limits["scale"], theme: Theme): void {
  const name = `${scale} ${theme}`;
  if (canvas.dataset["drawn"] === name) return;
  canvas.dataset["drawn"] = name;
  const table = lut(scale, theme);
  canvas.width = table.length;
  canvas.height = 1;
  const sheet = new ImageData(table.length, 1);
  new Uint32Array(sheet.data.buffer).set(table);
  context2d(canvas).putImageData(sheet, 0, 0);
}
