// What a fish-eye lens does to places.

import assert from "node:assert/strict";
import { test } from "node:test";

import { ENLARGED, seen } from "../src/marks/lens.ts";
import { FIRST, LENS, placed } from "../src/marks/scatterplan.ts";
import type { Scatter } from "../src/types.ts";

test("a lens spreads what lies near its middle, and keeps its middle, its rim and all beyond", () => {
  assert.deepEqual(seen(10, 10, [10, 10], 50), [10, 10]);
  assert.deepEqual(seen(70, 10, [10, 10], 50), [70, 10]);
  const [rim] = seen(59.999, 10, [10, 10], 50);
  assert.ok(Math.abs(rim - 59.999) < 0.001);
  const [near] = seen(10.01, 10, [10, 10], 50);
  assert.ok(Math.abs((near - 10) / 0.01 - ENLARGED) < 0.01); // so many times in the middle
  let before = 0;
  for (let far = 1; far < 50; far++) {
    const [x, y] = seen(10 + far * 0.6, 10 + far * 0.8, [10, 10], 50);
    const now = Math.hypot(x - 10, y - 10);
    assert.ok(now > before && now >= far && now < 50); // outwards, in order, never out of it
    assert.ok(Math.abs((x - 10) / 0.6 - (y - 10) / 0.8) < 1e-9); // along the ray
    before = now;
  }
});

test("points of a scatter lie under the lens as they are seen, the others where they were", () => {
  const points = Float64Array.from([0, 0, 0.05, 0, 0.9, 0.9]);
  const mark = { points: { data: points, shape: [3, 2] }, spans: [[-1, 1], [-1, 1]] } as unknown as Scatter;
  const plain = placed(mark, points, 2, FIRST, 200).at;
  const { at } = placed(mark, points, 2, { ...FIRST, lens: [0.5, 0.5] }, 200);
  assert.deepEqual([at[0], at[1], at[4], at[5]], [plain[0], plain[1], plain[4], plain[5]]);
  assert.ok(Math.abs((at[2] as number) - seen(105, 100, [100, 100], LENS * 200)[0]) < 1e-3);
  assert.ok((at[2] as number) > 118);
});
