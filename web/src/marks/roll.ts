// A melody as a roll: every note a bar over time, as high as its pitch; it can be heard.

import { css } from "../colour.ts";
import type { Roll } from "../types.ts";
import { Scale, tickText } from "./axis.ts";
import { Chosen, stateOf } from "./context.ts";
import { make, setText } from "./elements.ts";
import { counted, format, withUnit } from "./format.ts";
import { LEAST, type Draw } from "./half.ts";
import { head } from "./head.ts";
import { hits, type Hit } from "./hits.ts";
import { face, inks, sheet } from "./sheet.ts";
import { canPlay, hertz, play, silence } from "./sounding.ts";

const FOOT = 18;
const BUTTON = 24;
const LEFT = 24;
const LETTER = 10;
const NAMES = ["C", "C♯", "D", "D♯", "E", "F", "F♯", "G", "G♯", "A", "A♯", "B"];

interface Plan {
  readonly x: Scale;
  readonly high: number;
  readonly step: number;
  readonly bottom: number;
}

export const draw: Draw<Roll> = (element, first, context) => {
  const frame = head(element, "roll", context);
  let mark = first;
  let layout: Plan | null = null;
  let drawn = "";
  let clock: (() => number) | null = null;
  let following = 0;

  const surface = sheet(frame.body, () => mark.height, (pen, width, height) => {
    layout = planOf(mark, width, height);
    const ink = inks(element, context.theme);
    const chosen = new Chosen(context.selection);
    const { x, high, step, bottom } = layout;
    pen.font = face(LETTER);
    pen.lineWidth = 1;
    pen.textBaseline = "middle";
    pen.textAlign = "right";
    for (let pitch = Math.ceil(high - bottom / step); pitch <= high; pitch++) {
      if (pitch % 12) continue;
      const y = Math.round((high - pitch + 0.5) * step) + 0.5;
      pen.strokeStyle = ink.hairline;
      line(pen, x.from, y, x.to, y);
      pen.fillStyle = ink.muted;
      pen.fillText(nameOf(pitch), x.from - 4, Math.max(y, LETTER / 2)); // the topmost is not cut
    }
    mark.starts.data.forEach((_, i) => {
      const box = boxOf(mark, layout as Plan, i);
      const value = mark.values?.data[i];
      pen.fillStyle = value === undefined || !mark.limits ? ink.accent : css(value, mark.limits, context.theme);
      pen.fillRect(box.x, box.y, box.width, box.height);
      const marked = chosen.has(mark.keys[i] ?? "");
      pen.strokeStyle = marked ? ink.ink : ink.muted;
      pen.lineWidth = marked ? 2 : 0.5;
      if (marked || box.height > 4) pen.strokeRect(box.x, box.y, box.width, box.height);
    });
    pen.lineWidth = 1;
    pen.strokeStyle = ink.hairline;
    line(pen, x.from, bottom + 0.5, x.to, bottom + 0.5);
    pen.textAlign = "center";
    pen.fillStyle = ink.muted;
    const ticks = x.ticks(Math.max(2, Math.round((x.to - x.from) / 60)));
    for (const tick of ticks) pen.fillText(tickText(tick, ticks) + (tick === ticks.at(-1) ? " beats" : ""), Math.min(x.at(tick), x.to - 16), bottom + 10);
  });

  const hair = make("div", "hair");
  hair.hidden = true;
  surface.element.append(hair);
  const button = make("button", "link roll-play", "play");
  button.type = "button";
  button.hidden = !canPlay();
  button.addEventListener("click", () => (clock ? silence() : start()));
  frame.body.append(button);

  const touch = hits(surface.element, context, {
    at(x, y) {
      if (!layout) return null;
      for (let i = mark.starts.data.length - 1; i >= 0; i--) {
        const box = boxOf(mark, layout, i);
        if (x >= box.x && x <= box.x + box.width && Math.abs(y - box.y - box.height / 2) <= Math.max(box.height, 8) / 2) return note(i);
      }
      return null;
    },
    from(current, dx, dy) {
      const last = mark.starts.data.length - 1;
      return last < 0 ? null : note(current ? Math.max(0, Math.min(last, Number(current.id) + dx + dy)) : 0);
    },
  });

  function note(i: number): Hit | null {
    if (!layout) return null;
    const value = mark.values?.data[i];
    const told = value === undefined ? [] : [withUnit(value, mark.limits?.unit ?? "")];
    const [at, long] = [mark.starts.data[i] ?? 0, mark.lengths.data[i] ?? 0];
    const lines = [`${nameOf(mark.pitches.data[i] ?? 0)}, ${counted(long, "beat")}, behind ${format(at)}`, ...told];
    return { id: String(i), keys: mark.keys[i] ? [mark.keys[i] ?? ""] : [], lines, ...boxOf(mark, layout, i) };
  }

  function start(): void {
    const beat = 60 / mark.tempo;
    const sounds = [...mark.starts.data].map((at, i) => ({
      at: at * beat, long: (mark.lengths.data[i] ?? 0) * beat, hertz: hertz(mark.pitches.data[i] ?? 69),
    }));
    clock = play(sounds, () => {
      clock = null;
      cancelAnimationFrame(following);
      hair.hidden = true;
      setText(button, "play");
    });
    setText(button, "stop");
    follow();
  }

  function follow(): void {
    if (!clock || !layout) return;
    const beats = (clock() * mark.tempo) / 60;
    if (beats >= mark.beats) return silence();
    hair.hidden = beats < 0;
    hair.style.left = `${layout.x.at(beats)}px`;
    hair.style.top = "0";
    hair.style.height = `${layout.bottom}px`;
    following = requestAnimationFrame(follow);
  }

  function show(): void {
    frame.update(mark, mark.limits, context.theme);
    surface.paint();
    drawn = stateOf(context);
    button.disabled = !mark.starts.data.length;
    touch.reset(`${mark.title || "melody"}: ${counted(mark.starts.data.length, "note")}, ${counted(mark.beats, "beat")}; arrow keys read them`);
  }

  show();
  return {
    update(next) {
      const same = melodyOf(next) === melodyOf(mark);
      if (!same && clock) silence();
      mark = next;
      show();
      // Only behind a press: nobody is startled by a page that sounds by itself.
      if (!same && mark.aloud && canPlay() && navigator.userActivation?.isActive) start();
    },
    refresh() {
      if (stateOf(context) !== drawn) surface.paint();
      drawn = stateOf(context);
    },
    destroy() {
      if (clock) silence();
      touch.destroy();
      surface.destroy();
      element.replaceChildren();
    },
  };
};

function planOf(mark: Roll, width: number, height: number): Plan {
  const [low, high] = pitches(mark);
  const bottom = height - FOOT;
  const x = new Scale([0, Math.max(1, mark.beats)], [LEFT, Math.max(LEFT + 20, width - 6)]);
  return { x, high, step: bottom / (high - low + 1), bottom };
}

/** The range of the pitches: its own, or that of the notes with room, as Python's `around` has it. */
function pitches(mark: Roll): readonly [number, number] {
  if (mark.pitch_range) return mark.pitch_range;
  const heard = [...mark.pitches.data];
  const [low, high] = heard.length ? [Math.min(...heard), Math.max(...heard)] : [60, 72];
  const more = Math.max(2, 14 - (high - low)) / 2;
  return [low - more, high + more];
}

function boxOf(mark: Roll, { x, high, step }: Plan, i: number): { x: number; y: number; width: number; height: number } {
  const [at, long] = [mark.starts.data[i] ?? 0, mark.lengths.data[i] ?? 0];
  const left = x.at(at);
  return {
    x: left, y: (high - (mark.pitches.data[i] ?? 0)) * step + 0.5,
    width: Math.max(2, x.at(at + long) - left - 1), height: Math.max(2, step - 1),
  };
}

/** What musicians call a pitch: 60 is C4. */
export function nameOf(pitch: number): string {
  const number = Math.round(pitch);
  return `${NAMES[((number % 12) + 12) % 12] ?? ""}${Math.floor(number / 12) - 1}`;
}

function melodyOf(mark: Roll): string {
  return `${[...mark.starts.data]}|${[...mark.lengths.data]}|${[...mark.pitches.data]}|${mark.tempo}`;
}

function line(pen: CanvasRenderingContext2D, x: number, y: number, toX: number, toY: number): void {
  pen.beginPath();
  pen.moveTo(x, y);
  pen.lineTo(toX, toY);
  pen.stroke();
}

export function height(mark: Roll, _: number, factor: number): number {
  return Math.max(LEAST.chart, mark.height * factor) + BUTTON;
}

export function scaled(mark: Roll, factor: number): Roll {
  return { ...mark, height: Math.max(LEAST.chart, Math.round(mark.height * factor)) };
}

export function filling(mark: Roll, height: number): Roll {
  return { ...mark, height: Math.max(LEAST.chart, height - BUTTON) };
}
