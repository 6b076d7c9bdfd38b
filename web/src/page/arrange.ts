/** Where the views of a room stand on its grid of twelve columns, without holes. */

import type { KnobValue, Opening, Place, Room } from "../protocol.ts";
import type { Mode } from "./store.svelte.ts";

export const COLUMNS = 12;

/** A view in a room, under a name of its own: the view's name, or "name~2" for its second appearance. */
export interface Slot extends Place {
  slot: string;
  knobs: Record<string, KnobValue>;
}

/** Where a slot stands: the first column and row from 1, and its spans. */
export interface Spot {
  column: number;
  row: number;
  columns: number;
  rows: number;
}

export function viewOf(slot: string): string {
  return slot.split("~")[0]!;
}

/** Give each place a name of its own. */
export function slots(places: readonly Place[]): Slot[] {
  const seen = new Map<string, number>();
  return places.map((place) => {
    const count = (seen.get(place.view) ?? 0) + 1;
    seen.set(place.view, count);
    return { ...place, slot: count === 1 ? place.view : `${place.view}~${count}` };
  });
}

/** How a room opens on a run of some nature: the first opening all whose words hold; null for a room that shows all its views. */
export function opening(room: Room, nature: readonly string[]): Opening | null {
  return room.openings?.find(({ when }) => when.every((word) => nature.includes(word))) ?? null;
}

/** All places of a room, those of a mode first, each view once. */
export function places(room: Room, mode: Mode): Place[] {
  const [mine, others] = mode === "input" && room.input.length ? [room.input, room.training] : [room.training, room.input];
  const found = new Map<string, Place>();
  for (const place of [...mine, ...others]) if (!found.has(place.view)) found.set(place.view, place);
  return [...found.values()];
}

/** A free name for one more appearance of a view. */
export function freeSlot(view: string, taken: readonly Slot[]): string {
  for (let n = 1; ; n++) {
    const name = n === 1 ? view : `${view}~${n}`;
    if (!taken.some((slot) => slot.slot === name)) return name;
  }
}

const HIGH = 6;
/** So many rows fill the screen. */
export const SCREEN = 9;
const ASIDE = 8;
const LOWER = 0.6;

/**
 * A place where the page is narrow: one that is high and takes about half of the width gets all of it and is lower instead, as a map or a plane
 * keeps its shape and would leave most of a narrow, high place empty. One that fills the screen still does, but for the row in which the head of
 * the next shows: of two thirds of the screen, its knobs and words would leave a map the smaller half.
 */
export function narrowed<P extends { columns: number; rows: number }>(place: P): P {
  if (place.rows < HIGH || place.columns < COLUMNS - ASIDE + 1 || place.columns > ASIDE) return place;
  return { ...place, columns: COLUMNS, rows: place.rows >= SCREEN ? place.rows - 1 : Math.ceil(place.rows * LOWER) };
}

/** Place each in the first gap that takes it, then let each grow into what stays empty beside it. */
export function arrange(places: readonly { columns: number; rows: number }[]): { spots: Spot[]; rows: number } {
  const taken: number[][] = [];
  const free = (row: number, column: number): boolean => (taken[row]?.[column] ?? -1) < 0;
  const fill = (spot: Spot, index: number): void => {
    for (let r = spot.row - 1; r < spot.row - 1 + spot.rows; r++)
      for (let c = spot.column - 1; c < spot.column - 1 + spot.columns; c++)
        (taken[r] ??= Array<number>(COLUMNS).fill(-1))[c] = index;
  };
  const fits = (row: number, column: number, columns: number, rows: number): boolean => {
    if (column + columns > COLUMNS) return false;
    for (let r = row; r < row + rows; r++) for (let c = column; c < column + columns; c++) if (!free(r, c)) return false;
    return true;
  };
  const spots = places.map((place, index): Spot => {
    const columns = Math.max(1, Math.min(COLUMNS, place.columns));
    const rows = Math.max(1, place.rows);
    for (let row = 0; ; row++)
      for (let column = 0; column <= COLUMNS - columns; column++)
        if (fits(row, column, columns, rows)) {
          const spot = { column: column + 1, row: row + 1, columns, rows };
          fill(spot, index);
          return spot;
        }
  });
  const height = taken.length;
  spots.forEach((spot, index) => {
    const right = (): number => spot.column - 1 + spot.columns;
    while (fits(spot.row - 1, right(), 1, spot.rows)) spot.columns++;
    fill(spot, index);
  });
  spots.forEach((spot, index) => {
    const below = (): number => spot.row - 1 + spot.rows;
    while (below() < height && fits(below(), spot.column - 1, spot.columns, 1)) spot.rows++;
    fill(spot, index);
  });
  return { spots, rows: height };
}

const GAP = 16;
const BETWEEN = 10;
const BUTTON = 32;
const MORE = 60;

/** How many of the names stand in so many lines, the first of which has less room; what is wider than a line has one of its own. */
function fitting(names: readonly number[], first: number, width: number, lines: number): number {
  let [line, at, room] = [1, -BETWEEN, first];
  for (const [i, name] of names.entries()) {
    if (at + BETWEEN + name > room && (line === 1 || at > 0)) [line, at, room] = [line + 1, -BETWEEN, width];
    if (line > lines) return i;
    at += BETWEEN + name;
  }
  return names.length;
}

/** How many lines a row of names takes that begins behind a room's question and goes on below it. */
export function linesOf(names: readonly number[], question: number, width: number): number {
  let lines = 1;
  while (fitting(names, width - question - BUTTON - 2 * GAP, width, lines) < names.length) lines++;
  return lines;
}

/** How many of the names stand in so many lines; where it is not all, a button stands in the first line that leads to the others. */
export function standing(names: readonly number[], question: number, width: number, lines: number): number {
  const first = width - question - BUTTON - 2 * GAP;
  const all = fitting(names, first, width, lines);
  return all === names.length ? all : fitting(names, first - MORE, width, lines);
}
