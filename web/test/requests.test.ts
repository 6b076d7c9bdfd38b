import assert from "node:assert/strict";
import { test } from "node:test";

import type { View } from "../src/protocol.ts";
import { moveOf, requestFor, type Situation } from "../src/page/requests.ts";

const knob = (name: string, value: unknown) => ({ name, default: value, kind: "text", optional: false });
const view = (name: string, more: object): View =>
  ({ name, needs: "model", follows: [], input: false, moves: [], knobs: [], ...more }) as unknown as View;
const slice = view("slice", { moves: ["directions", "at", "seed"], knobs: [knob("directions", "random"), knob("at", "0,0"), knob("seed", 0)] });
const here: Situation = { run: "a", step: "3", state: null, selection: { a: [], b: [] }, input: null, edits: [] };

test("a place other than the network itself moves the weights, by the view's own knobs", () => {
  assert.equal(moveOf(slice, {}), null);
  for (const at of ["0,0", "0.0, -0", "-0,0"]) assert.equal(moveOf(slice, { at, seed: 2 }), null);
  assert.deepEqual(moveOf(slice, { at: "0.5,-1", seed: 2 }), { key: "plane:random", at: "0.5,-1", seed: 2 });
  assert.equal(moveOf(view("other", {}), { at: "1,1" }), null);
});

test("every view is asked of the moved network, but the record and the view that moves it", () => {
  const edits = [moveOf(slice, { at: "1,0" })!];
  assert.deepEqual(requestFor(view("maps", {}), {}, { ...here, edits }).edits, edits);
  for (const one of [slice, view("curves", { needs: "record" })]) assert.ok(!("edits" in requestFor(one, {}, { ...here, edits })));
  assert.ok(!("edits" in requestFor(view("maps", {}), {}, here)));
});
