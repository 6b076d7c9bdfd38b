/** The family of runs, as it is drawn where runs are chosen. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { tree } from "../src/page/family.ts";

const run = (name: string, parent?: string) => ({ name, steps: 1, alive: false, title: name, left: 0, ...(parent ? { parent } : {}) });
const drawn = (...runs: ReturnType<typeof run>[]) => tree(runs).map(({ run, rails }) => rails.map((more) => (more ? "|" : "'")).join("") + run.name);

test("children stand below the run that they go on from, and rails say where more follow", () => {
  assert.deepEqual(drawn(run("b"), run("a"), run("a-2", "a"), run("a-3", "a-2"), run("a-4", "a")), ["b", "a", "|a-2", "|'a-3", "'a-4"]);
});

test("a run whose parent is not listed stands at the top, and a circle is shown all the same", () => {
  assert.deepEqual(drawn(run("a", "gone"), run("b", "c"), run("c", "b")), ["a", "b", "'c"]);
});
