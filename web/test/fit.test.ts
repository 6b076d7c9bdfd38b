import assert from "node:assert/strict";
import { test } from "node:test";

import { folded } from "../src/page/fit.ts";
import type { Number as NumberMark } from "../src/types.ts";

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
