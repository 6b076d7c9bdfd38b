/** From what the user has chosen to the request of one view: only what the view depends on is in it, so that nothing else asks again. */

import { kindOf, selectionText, type Selection } from "./address.ts";
import type { ComparedMoment, Knob, KnobValue, RawInput, Request, RunState, View } from "../protocol.ts";

export interface Situation {
  run: string;
  /** The step in the address; empty is the newest. */
  step: string;
  state: RunState | null;
  selection: Selection;
  input: RawInput | null;
  /** What moves the weights for all views but the one that moves them. */
  edits: Edit[];
}

export type Edit = Record<string, unknown>;

/** The value of a knob from its text in the address; the text itself where it names something. */
export function knobValue(knob: Knob, text: string): KnobValue {
  if (knob.kind === "flag") return text === "true";
  if (knob.kind === "number" || knob.kind === "integer" || knob.kind === "step" || knob.kind === "example") {
    const number = Number(text);
    return text === "" ? null : Number.isFinite(number) ? number : text;
  }
  return text;
}

/** A knob's value as text, for the address. */
export function knobText(value: KnobValue): string {
  return value === null ? "" : String(value);
}

/** The keys that a view reads. Set B names a second run and step to compare with; these travel beside the selection. */
export function followed(view: View, selection: Selection): string {
  const reads = (key: string): boolean => view.follows.includes(kindOf(key));
  return selectionText({
    a: selection.a.filter(reads),
    b: selection.b.filter((key) => reads(key) && !["run", "step"].includes(kindOf(key))),
  });
}

/** The runs and steps to compare with, from set B of the selection: each run with the step behind it, a step alone of this run. */
export function othersOf(situation: Situation): ComparedMoment[] {
  const keys = situation.selection.b.filter((key) => ["run", "step"].includes(kindOf(key)));
  // An address that names one run and one step means both together, whichever comes first.
  if (keys.length === 2 && kindOf(keys[0]!) === "step" && kindOf(keys[1]!) === "run") keys.reverse();
  const found: ComparedMoment[] = [];
  let open = false;
  for (const key of keys) {
    const last = found.at(-1);
    if (kindOf(key) === "run") found.push({ run: decodeURIComponent(key.slice(4)), step: null });
    else if (open && last) last.step = Number(key.slice(5));
    else found.push({ run: situation.run, step: Number(key.slice(5)) });
    open = kindOf(key) === "run";
  }
  return found;
}

/** What a request is compared with: nothing, one moment, or a list of several. */
function otherOf(situation: Situation): Request["other"] {
  const others = othersOf(situation);
  return others.length > 1 ? others : (others[0] ?? null);
}

/** The knobs of a view as the request carries them: place's own, then the user's; what equals the default is left out. */
export function knobsFor(
  view: View,
  placed: Record<string, KnobValue>,
  chosen: Record<string, string>,
): Record<string, KnobValue> {
  const values: Record<string, KnobValue> = {};
  for (const knob of view.knobs) {
    const text = chosen[knob.name];
    const value = text !== undefined ? knobValue(knob, text) : (placed[knob.name] ?? knob.default);
    if (value !== knob.default && !(value === null && !knob.optional)) values[knob.name] = value;
  }
  return values;
}

/** Where a view has moved the weights to, as an edit; null while they stand where they are. */
export function moveOf(view: View, knobs: Record<string, KnobValue>): Edit | null {
  const [plane, place, ...rest] = view.moves;
  if (!plane || !place || !(place in knobs)) return null;
  const value = (name: string): KnobValue => (name in knobs ? knobs[name]! : (view.knobs.find((knob) => knob.name === name)?.default ?? null));
  if (String(value(place)).split(",").every((number) => Number(number) === 0)) return null;
  return { key: `plane:${value(plane)}`, ...Object.fromEntries([place, ...rest].map((name) => [name, value(name)])) };
}

/** The whole request of a view. */
export function requestFor(view: View, knobs: Record<string, KnobValue>, situation: Situation): Request {
  const { run, step, state } = situation;
  const edited = situation.edits.length > 0 && view.needs !== "record" && !view.moves.length;
  return {
    run,
    step: step === "" ? (state?.alive ? "live" : null) : Number(step),
    other: otherOf(situation),
    view: view.name,
    knobs,
    selection: followed(view, situation.selection),
    ...(edited ? { edits: situation.edits } : {}),
    input: view.input ? situation.input : null,
  };
}
