// Series over steps, time or another number, with bands, envelopes, events and the place of the time slider.

import type { Lines } from "../types.ts";
import { nearest } from "./axis.ts";
import { howOf, stateOf } from "./context.ts";
import { make, setAttribute, setText } from "./elements.ts";
import { counted, duration, format } from "./format.ts";
import { LEAST, type Draw } from "./half.ts";
import { head } from "./head.ts";
import { paint, plan, type Plan } from "./lineplan.ts";
import { pathOn } from "./path.ts";
import { inks, sheet } from "./sheet.ts";
import { hideTip, showTip } from "./tooltip.ts";

export const draw: Draw<Lines> = (element, first, context) => {
  const frame = head(element, "lines", context);
  const detail = make("span", "mark-detail");
  element.querySelector(".mark-head")?.append(detail);
  let mark = first;
  let zoom: [number, number] | null = null; // where no knob holds the range
  let whole: [number, number] = [-Infinity, Infinity]; // the range before one came nearer
  let layout: Plan | null = null;
  const surface = sheet(frame.body, () => mark.height, (pen, width, height) => {
    layout = plan(pen, mark, zoom, width, height, context);
    paint(pen, layout, mark, context, inks(element, context.theme));
    path.update(mark.handle);
  });
  const area = surface.element;
  const path = pathOn(area, context, () => ({ x: layout!.x, y: layout!.y }));
  const hair = make("div", "hair");
  const brush = make("div", "brush");
  const dots: HTMLElement[] = [];
  hair.hidden = brush.hidden = true;
  area.append(hair, brush);
  area.tabIndex = 0;
  area.setAttribute("role", "application");
  const stop = new AbortController();
  const listen = { signal: stop.signal };
  let reading: number | null = null;
  let drawn = "";
  let keyed = false;
  let pressed: number | null = null;

  function show(): void {
    frame.update(mark, null, context.theme);
    surface.paint();
    drawn = stateOf(context, true);
    keyed = mark.series.some((series) => series.key);
    const words = [mark.y_title, mark.y_log ? "log scale" : "", mark.x_log ? "log x" : "", ...(layout?.notes ?? [])];
    setText(detail, words.filter(Boolean).join(" · "));
    (detail.parentElement as HTMLElement).hidden = !mark.title && !detail.textContent && mark.handle?.kind !== "type";
    setAttribute(area, "aria-label", describe(mark));
    if (reading !== null) read(reading, null);
  }

  /** Show all series' values at an x; with a pointer also as a tooltip. */
  function read(x: number, pointer: { x: number; y: number } | null): void {
    if (!layout) return;
    const { lines: texts, places, at } = values(mark, layout, x);
    reading = at;
    hair.hidden = false;
    hair.style.left = `${layout.x.at(at)}px`;
    hair.style.top = `${layout.top}px`;
    hair.style.height = `${layout.bottom - layout.top}px`;
    while (dots.length > places.length) dots.pop()?.remove();
    while (dots.length < places.length) {
      const dot = make("div", "reading-dot");
      dots.push(dot);
      area.append(dot);
    }
    places.forEach((place, i) => {
      const dot = dots[i] as HTMLElement;
      dot.style.left = `${place.x}px`;
      dot.style.top = `${place.y}px`;
      dot.style.backgroundColor = place.colour;
    });
    if (!pointer) return;
    showTip(area, pointer.x, pointer.y, texts);
  }

  function clear(): void {
    reading = null;
    hair.hidden = true;
    for (const dot of dots.splice(0)) dot.remove();
    hideTip();
    if (context.hovered !== null) context.hover(null);
  }

  const inside = (event: PointerEvent | MouseEvent): { x: number; y: number } => {
    const box = area.getBoundingClientRect();
    return { x: event.clientX - box.left, y: event.clientY - box.top };
  };

  area.addEventListener("pointermove", (event) => {
    if (!layout) return;
    const at = inside(event);
    const label = layout.labels.find((item) => at.x >= item.x - 2 && Math.abs(at.y - item.y) < 8);
    if ((label?.key || null) !== context.hovered) context.hover(label?.key || null);
    area.classList.toggle("pointing", Boolean(label?.key));
    if (pressed !== null) return drag(at.x);
    if (at.x < layout.x.from - 6 || at.x > layout.x.to + 6) return clear();
    read(layout.x.value(at.x), { x: event.clientX, y: event.clientY });
  }, listen);
  area.addEventListener("pointerleave", () => {
    if (pressed === null) clear();
  }, listen);
  area.addEventListener("pointerdown", (event) => {
    if (!layout || event.button !== 0 || draws()) return;
    const { x } = inside(event);
    if (x < layout.x.from || x > layout.x.to) return;
    pressed = x;
    area.setPointerCapture(event.pointerId);
    if (slides()) slideTo(x, true);
  }, listen);
  area.addEventListener("pointerup", (event) => {
    const start = pressed;
    pressed = null;
    brush.hidden = true;
    const { x, y } = inside(event);
    if (start !== null && slides()) return slideTo(x, false);
    const label = layout?.labels.find((item) => x >= item.x - 2 && Math.abs(y - item.y) < 8);
    if (label?.key) return context.select([label.key], howOf(event));
    if (start === null || !layout) return;
    if (Math.abs(x - start) > 6) return brushed(layout.x.value(Math.min(start, x)), layout.x.value(Math.max(start, x)), event);
    go(layout.x.value(x), event);
  }, listen);
  area.addEventListener("pointercancel", () => {
    pressed = null;
    brush.hidden = true;
  }, listen);
  area.addEventListener("dblclick", reset, listen);

  /** A line is drawn by hand over the curves: a stroke is neither a range nor a step. */
  function draws(): boolean {
    return mark.handle?.kind === "path" && !context.fixed;
  }

  /** A slider's place is also where one points in the curves. */
  function slides(): boolean {
    return mark.handle?.kind === "slide" && !context.fixed;
  }

  function slideTo(x: number, moving: boolean): void {
    if (!layout || !mark.handle) return;
    const value = Math.max(mark.handle.low, Math.min(mark.handle.high, layout.x.value(x)));
    context.set(mark.handle.knob, Number(value.toPrecision(4)), moving);
  }

  function drag(x: number): void {
    if (!layout || pressed === null) return;
    if (slides()) return slideTo(x, true);
    const [left, right] = [Math.max(layout.x.from, Math.min(pressed, x)), Math.min(layout.x.to, Math.max(pressed, x))];
    brush.hidden = right - left < 6;
    brush.style.left = `${left}px`;
    brush.style.width = `${right - left}px`;
    brush.style.top = `${layout.top}px`;
    brush.style.height = `${layout.bottom - layout.top}px`;
    hideTip();
  }

  /** Places that are keys are chosen, as they are everywhere else; others are a range. */
  function brushed(low: number, high: number, event: PointerEvent): void {
    if (!mark.x_key || mark.handle?.kind === "range") return setRange(low, high);
    const [from, to] = [Math.ceil(low), Math.floor(high)];
    if (from <= to) context.select([`${mark.x_key}:${from === to ? from : `${from}-${to}`}`], howOf(event));
  }

  function setRange(low: number, high: number): void {
    // Of places in a row, such as tokens, a range is written as slices have it: from the first within to behind the last.
    const places = mark.handle?.kind === "range" && mark.series.every((one) => one.x.data.every(Number.isInteger));
    const [from, to] = mark.x_kind === "step" ? [Math.floor(low), Math.ceil(high)] : places ? [Math.ceil(low), Math.floor(high) + 1] : [low, high];
    if (mark.handle?.kind === "range") return context.set(mark.handle.knob, `${Number(from.toPrecision(8))}:${Number(to.toPrecision(8))}`);
    zoom = [from, to];
    clear();
    show();
  }

  /** A range so much wider about a place that stays where it is, within what there is to see. */
  function near(x: number, by: number): void {
    if (!layout) return;
    if (!ranged()) whole = [layout.x.low, layout.x.high];
    const { from, to } = layout.x;
    const at = layout.x.at(x);
    const [left, right] = [from, to].map((end) => layout!.x.value(at + (end - at) * by)) as [number, number];
    if (by > 1 && left <= whole[0] && right >= whole[1]) return ranged() ? reset() : undefined;
    if (mark.x_kind === "step" && right - left < 1) return;
    setRange(Math.max(whole[0], left), Math.min(whole[1], right));
  }

  function ranged(): boolean {
    return zoom !== null || (mark.handle?.kind === "range" && mark.handle.value !== "");
  }

  function reset(): void {
    if (mark.handle?.kind === "range") return context.set(mark.handle.knob, "");
    zoom = null;
    show();
  }

  function go(x: number, event: MouseEvent | KeyboardEvent): void {
    if (!layout) return;
    if (mark.x_key && mark.handle?.kind !== "range") {
      const place = Math.round(Math.max(layout.x.low, Math.min(layout.x.high, x)));
      return context.select([`${mark.x_key}:${place}`], howOf(event));
    }
    if (mark.x_kind !== "step") return;
    const step = Math.round(Math.max(layout.x.low, Math.min(layout.x.high, x)));
    context.step(step);
    context.select([`step:${Math.max(0, step)}`], howOf(event));
  }

  area.addEventListener("keydown", (event) => {
    if (!layout || event.ctrlKey || event.metaKey || event.altKey) return;
    const here = reading ?? mark.cursor ?? layout.x.low;
    const way = event.key === "ArrowRight" ? 1 : event.key === "ArrowLeft" ? -1 : 0;
    if (way) {
      const next = layout.x.value(layout.x.at(here) + way * (event.shiftKey ? 40 : 4));
      const box = area.getBoundingClientRect();
      const x = Math.max(layout.x.low, Math.min(layout.x.high, next));
      read(x, { x: box.left + layout.x.at(x), y: box.top + layout.top + 20 });
      area.setAttribute("aria-label", values(mark, layout, x).lines.join(", "));
    } else if (event.key === "Enter" && slides()) slideTo(layout.x.at(here), false);
    else if (event.key === "Enter") go(here, event);
    else if ("+=-".includes(event.key) && !slides()) near(here, event.key === "-" ? 2 : 0.5);
    else if (event.key === "0" && ranged()) reset();
    else if (event.key === "Escape" && (reading !== null || ranged())) {
      clear();
      reset();
    } else return;
    event.preventDefault();
    event.stopPropagation();
  }, listen);
  area.addEventListener("blur", clear, listen);

  show();
  return {
    update(next) {
      mark = next;
      show();
    },
    refresh() {
      const now = stateOf(context, true);
      if (now !== drawn && (keyed || now.split(" ")[0] !== drawn.split(" ")[0])) surface.paint();
      drawn = now;
    },
    destroy() {
      stop.abort();
      path.destroy();
      surface.destroy();
      hideTip();
      element.replaceChildren();
    },
  };
};

interface Reading {
  lines: string[];
  places: { x: number; y: number; colour: string }[];
  at: number;
}

/** Every series' value at the point nearest to an x. */
export function values(mark: Lines, layout: Plan, x: number): Reading {
  const read = layout.shown.filter((item) => !item.series.faint || !item.hasStrong);
  let at = x;
  let least = Infinity;
  for (const { series } of read) {
    const i = nearest(series.x.data, x);
    const distance = Math.abs((series.x.data[i] ?? NaN) - x);
    if (distance < least) [least, at] = [distance, series.x.data[i] ?? x];
  }
  const reach = 14 * Math.abs(layout.x.value(layout.x.from + 1) - layout.x.value(layout.x.from));
  const places: Reading["places"] = [];
  const texts = [`${mark.x_title || mark.x_kind} ${mark.x_kind === "time" ? duration(at) : format(at, 4)}`];
  for (const { series, name, colour } of read) {
    const i = nearest(series.x.data, at);
    const value = series.y.data[i];
    if (value === undefined || Math.abs((series.x.data[i] ?? NaN) - at) > Math.max(reach, layout.spacing(series))) continue;
    const [low, high] = [series.low?.data[i], series.high?.data[i]];
    const range = low !== undefined && high !== undefined && low !== high ? ` (${format(low)} to ${format(high)})` : "";
    texts.push(`${name}: ${format(value, 4)}${range}`);
    const y = layout.y.at(value);
    if (!series.band && y >= layout.top - 1 && y <= layout.bottom + 1) places.push({ x: layout.x.at(series.x.data[i] ?? at), y, colour });
  }
  for (const event of mark.events) {
    const span = event.end !== null && x >= event.x && x <= event.end;
    if (span || Math.abs(layout.x.at(event.x) - layout.x.at(x)) < 5) texts.push(event.label);
  }
  return { lines: texts.slice(0, 24), places, at };
}

function describe(mark: Lines): string {
  const told = mark.series.filter((series) => !series.faint && !series.band).slice(0, 6).map((series) => {
    const last = series.y.data.length - 1;
    if (last < 0) return `${series.name}: no values yet`;
    return `${series.name} from ${format(series.y.data[0])} to ${format(series.y.data[last])}`;
  });
  const events = mark.events.length ? `; ${counted(mark.events.length, "event")}` : "";
  return `${mark.title || mark.y_title || "curves"} over ${mark.x_title}: ${told.join("; ")}${events}. Arrow keys read values, plus and minus come nearer${mark.x_kind === "step" ? ", Enter goes to the step" : ""}`;
}

export function height(mark: Lines, _: number, factor: number): number {
  return Math.max(LEAST.chart, mark.height * factor);
}

export function scaled(mark: Lines, factor: number): Lines {
  return { ...mark, height: Math.max(LEAST.chart, Math.round(mark.height * factor)) };
}

export function filling(mark: Lines, height: number): Lines {
  return { ...mark, height: Math.max(LEAST.chart, height) };
}

export function detailed(mark: Lines): boolean {
  return Boolean(mark.y_title) || mark.y_log || mark.series.length > 1;
}
