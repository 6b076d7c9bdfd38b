import assert from "node:assert/strict";
import { test } from "node:test";

import { fit, folded, mapWidth } from "../src/page/fit.ts";
import type { Node, Number as NumberMark, Scatter } from "../src/types.ts";

const finding = (label: string): NumberMark => ({
  mark: "number", id: "", title: "", caption: "", handle: null, label, value: null, unit: "", tone: "bad", note: "What was seen, and what helps. ".repeat(6), key: "layer:a", actions: [],
} as unknown as NumberMark);

test("in a low place findings keep their titles and fold their notes, the first last", () => {
  const five = ["Layer 3 is saturated", "The rate is too high", "Gradients vanish", "It does not learn", "One answer to all"].map(finding);
  const folds = (height: number, enlarged = false): boolean[] => folded(five, { width: 340, height, enlarged }).map((one) => Boolean(one.folds));
  assert.deepEqual(folds(80), [true, true, true, true, true]);
  assert.deepEqual(folds(2000), [false, false, false, false, false]);
  assert.deepEqual(folds(106, true), [false, false, false, false, false]);
  const some = folds(260);
  assert.equal(some[0], false);
  assert.equal(some[4], true);
  // What is open is open from the first on.
  assert.deepEqual(some, [...some].sort((a, b) => Number(a) - Number(b)));
});

const map = { mark: "scatter", id: "", title: "", caption: "", handle: null, limits: null, classes: ["0", "1"], size: 520 } as unknown as Scatter;
const alone = { mark: "group", id: "", title: "", caption: "", handle: null, direction: "row", children: [map] } as unknown as Node;

test("in a wide, low place a map takes the height, and the words of its card stand beside it", () => {
  // A card of a narrow window, and an enlarged one of a wide window.
  for (const [width, height, enlarged] of [[864, 412, false], [1110, 690, true]] as const) {
    const taken = mapWidth(alone, width, height)!;
    assert.ok(taken <= width - 200);
    const body = fit(alone, { width: taken, height, enlarged }).body;
    const side = (body.mark === "group" ? (body.children[0] as Scatter) : map).size;
    assert.ok(side > 0.95 * height && side <= height, `${side} of ${height}`);
  }
  // Where its names find no room beside it too, they stay below it.
  const taken = mapWidth(alone, 864, 660)!;
  assert.ok(taken > 0.9 * 660 && taken < 660);
});

test("a map in a narrow place, and any other picture, has its words below", () => {
  assert.equal(mapWidth(alone, 437, 640), null);
  assert.equal(mapWidth(alone, 300, 120), null);
  assert.equal(mapWidth({ ...alone, children: [map, map] } as Node, 864, 412), null);
  assert.equal(mapWidth({ ...map, mark: "field" } as unknown as Node, 864, 412), null);
});

test("in a place as low as the tray a curve beside an answer is no taller than it", () => {
  const curve = { mark: "lines", id: "", title: "", caption: "", handle: null, height: 110, series: [] };
  const bars = { mark: "bars", id: "", title: "", caption: "", handle: null, names: ["a"], values: [1] };
  const beside = { mark: "group", id: "", title: "", caption: "", handle: null, direction: "row", children: [curve, bars] } as unknown as Node;
  const body = fit(beside, { width: 300, height: 77, enlarged: false }).body;
  const height = body.mark === "group" ? (body.children[0] as unknown as { height: number }).height : NaN;
  assert.ok(height >= 40 && height <= 77, `${height}`);
});
