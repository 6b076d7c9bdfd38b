/** Which unit is which while acts of structure move units to other places: keys of the selection follow theirs. */

import { keyText, parseKey, type Selection } from "./address.ts";
import type { MovesEntry } from "../protocol.ts";

export type Births = MovesEntry["births"];

/** Where units lie at a step; a place that is not named has units 0, 1, 2, … */
export function birthsAt(moves: readonly MovesEntry[], step: number): Births {
  return (moves.findLast((entry) => entry.since <= step) ?? moves[0])?.births ?? {};
}

/** The key of the same unit, head or weight where units lie otherwise; null where it is not there. */
export function followed(text: string, then: Births, now: Births): string | null {
  const key = parseKey(text);
  if (!key || !["unit", "head", "weight"].includes(key.kind)) return text;
  const places = placesOf(key.kind, key.name, then, now);
  const index = key.index.map((number, axis) => {
    const [was, is] = [then[places[axis] ?? ""], now[places[axis] ?? ""]];
    const birth = was ? birthOf(number, was) : number;
    return is ? placeOf(birth, is) : birth;
  });
  return index.includes(-1) ? null : keyText({ ...key, index });
}

/** What each number of a key runs along. */
function placesOf(kind: string, name: string, then: Births, now: Births): string[] {
  const path = name.replace(/#\d+$/, "");
  if (kind !== "weight") return [`layer:${name}`, `layer:${path}`].filter((place) => place in then || place in now).slice(0, 1);
  const tensor = [name, `${path}.weight`, path].find((each) => [0, 1, 2, 3, 4].some((axis) => `weight:${each}:${axis}` in then || `weight:${each}:${axis}` in now));
  return tensor === undefined ? [] : [0, 1, 2, 3, 4].map((axis) => `weight:${tensor}:${axis}`);
}

type Spans = Births[string];

function birthOf(place: number, spans: Spans): number {
  let before = 0;
  for (const [first, count] of spans) {
    if (place < before + count) return first + place - before;
    before += count;
  }
  return -1;
}

function placeOf(birth: number, spans: Spans): number {
  let before = 0;
  for (const [first, count] of spans) {
    if (birth >= first && birth < first + count) return before + birth - first;
    before += count;
  }
  return -1;
}

/** What is selected, over steps at which units lie elsewhere. */
export class FollowedSelection {
  /** Where units lie at the step at which the keys are meant; null until that is known. */
  private births: Births | null = null;
  /** What is selected and not there at this step: it comes back where it is. */
  private absent: { key: string; set: "a" | "b"; then: Births }[] = [];

  /** The selection where units lie so; null where it stays. What has just been chosen lies there already. */
  turn({ a, b }: Selection, now: Births, chosen: boolean): Selection | null {
    const then = this.births;
    this.births = now;
    if (chosen) this.absent = [];
    if (chosen || !then || JSON.stringify(then) === JSON.stringify(now)) return null;
    const all = [...a.map((key) => ({ key, set: "a" as const, then })), ...b.map((key) => ({ key, set: "b" as const, then })), ...this.absent];
    const turned: Selection = { a: [], b: [] };
    this.absent = [];
    for (const each of all) {
      const key = followed(each.key, each.then, now);
      if (key === null) this.absent.push(each);
      else if (!turned[each.set].includes(key)) turned[each.set].push(key);
    }
    return turned;
  }
}
