// The same point in maps side by side.

import assert from "node:assert/strict";
import { test } from "node:test";

import { linesBetween } from "../src/marks/joins.ts";

test("a point is joined from each map to the next, where both show it", () => {
  const first = new Map([["example:1", [0, 0]], ["example:2", [5, 5]]] as const);
  const second = new Map([["example:1", [100, 10]]] as const);
  const third = new Map([["example:1", [200, 20]], ["example:2", [205, 25]]] as const);
  assert.deepEqual(linesBetween([first, second, third]), [[[0, 0], [100, 10]], [[100, 10], [200, 20]]]);
  assert.deepEqual(linesBetween([first]), []);
});
