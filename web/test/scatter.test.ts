// Points of a scatter: where they lie, which a loop holds, which pictures are shown, and what keys say of them.

import assert from "node:assert/strict";
import { test } from "node:test";

import { FIRST, cellOf, inPart, keysOf, nearer, nearestTo, onGrid, placed, pointOf, stepsBack, towards, within } from "../src/marks/scatterplan.ts";
import { MANY, rarity } from "../src/marks/scattergl.ts";
import type { Scatter } from "../src/types.ts";

function scatter(points: number[], stride = 2): Scatter {
  const spans = Array.from({ length: stride }, () => [-1, 1] as [number, number]);
  return {
    mark: "scatter", points: { dtype: "f4", shape: [points.length / stride, stride], data: Float32Array.from(points) }, spans, kind: "example", keys: [],
    classes: [], labels: [],
  } as unknown as Scatter;
}

test("the ends of the axes are the sides of the square, and y goes up", () => {
  const mark = scatter([-1, -1, 1, 1, 0, 0]);
  assert.deepEqual([...placed(mark, mark.points.data, 2, FIRST, 200).at], [0, 200, 200, 0, 100, 100]);
});

test("where points lie is worked out when somebody asks, and once: a million that move are placed by the graphics processor", () => {
  const mark = scatter([0, 0]);
  let read = 0;
  const numbers = new Proxy(mark.points.data, {
    get: (data, name) => (name === "0" && read++, Reflect.get(data, name, data)),
  });
  const plan = placed(mark, numbers, 2, FIRST, 100);
  assert.deepEqual([plan.side, read], [100, 0]);
  assert.deepEqual([...plan.at, ...plan.at, plan.depth.length, read], [50, 50, 50, 50, 0, 1]);
});

test("of a million points some 30,000 are drawn while they move, and all of those that are few", () => {
  assert.deepEqual([MANY, MANY + 1, 1_000_000].map(rarity), [1, 4, 34]);
});

test("points step back where others are chosen, unless the picture says who answers to these", () => {
  const faded = { dtype: "u1", shape: [3], data: Uint8Array.from([1, 0, 0]) };
  const marked = Uint8Array.from([0, 0, 1]);
  const back = (more: object): boolean[] => [0, 1, 2].map((i) => stepsBack({ ...scatter([0, 0, 0, 0, 0, 0]), ...more } as Scatter, i, marked, true));
  assert.deepEqual(back({}), [true, true, false]);
  assert.deepEqual(back({ faded, pale: "not to be trusted" }), [true, true, false]);
  assert.deepEqual(back({ faded, pale: "below 0.5 σ" }), [true, false, false]);
});

test("coming nearer keeps what is under the pointer, and going back shows the whole", () => {
  const mark = scatter([0.5, -0.25]);
  const before = placed(mark, mark.points.data, 2, FIRST, 200).at;
  const look = nearer(nearer(FIRST, 200, [before[0]!, before[1]!], 3), 200, [before[0]!, before[1]!], 2);
  const after = placed(mark, mark.points.data, 2, look, 200).at;
  assert.ok(Math.abs(after[0]! - before[0]!) < 1e-3 && Math.abs(after[1]! - before[1]!) < 1e-3);
  assert.deepEqual(nearer(look, 200, [10, 10], 0.01), FIRST);
});

test("a turned cube stays within its square, and turning changes no distance from its middle in space", () => {
  const corners = [-1, 1].flatMap((x) => [-1, 1].flatMap((y) => [-1, 1].flatMap((z) => [x, y, z])));
  const mark = scatter(corners, 3);
  for (let k = 0; k < 40; k++) {
    const { at, depth } = placed(mark, mark.points.data, 3, { ...FIRST, azimuth: k / 3, elevation: Math.sin(k) }, 2);
    for (let i = 0; i < 8; i++) {
      const [x, y] = [(at[2 * i]! - 1) / 0.577, (1 - at[2 * i + 1]!) / 0.577];
      assert.ok(at[2 * i]! >= 0 && at[2 * i]! <= 2 && at[2 * i + 1]! >= 0 && at[2 * i + 1]! <= 2);
      assert.ok(Math.abs(x * x + y * y + depth[i]! ** 2 - 3) < 1e-4);
    }
  }
});

test("a loop holds what lies within it, and no point without a place", () => {
  const mark = scatter([0, 0, 0.9, 0.9, NaN, 0, -0.2, 0.1]);
  const plan = placed(mark, mark.points.data, 2, FIRST, 100);
  assert.deepEqual(within(plan, [[30, 30], [70, 30], [70, 70], [30, 70]]), [0, 3]);
  assert.equal(nearestTo(plan, [96, 5], 9), 1);
  assert.equal(nearestTo(plan, [70, 70], 9), -1);
  assert.equal(towards(plan, 0, 1, 0), 1);
});

test("many keys in a row are ranges, and a key finds its point", () => {
  const mark = scatter(Array.from({ length: 400 }, () => 0));
  assert.deepEqual(keysOf(mark, [3, 4]), ["example:3", "example:4"]);
  assert.deepEqual(keysOf(mark, [...Array(100).keys(), 150]), ["example:0-99", "example:150"]);
  assert.equal(pointOf(mark, "example:150"), 150);
  assert.equal(pointOf(mark, "unit:fc/3"), -1);
  assert.equal(pointOf(mark, "example:900"), -1);
});

test("no two pictures or texts share a place of the grid, and each is near its point", () => {
  const mark = scatter(Array.from({ length: 600 }, (_, i) => Math.sin(i * 7.7)));
  const plan = placed(mark, mark.points.data, 2, FIRST, 300);
  for (const pictures of [null, {}]) {
    const [wide, high] = cellOf({ pictures });
    const places = onGrid(plan, [wide, high]);
    assert.equal(new Set([...places.values()].map(String)).size, places.size);
    for (const [i, [x, y]] of places) {
      assert.ok(Math.abs(plan.at[2 * i]! - x - wide / 2) <= wide && Math.abs(plan.at[2 * i + 1]! - y - high / 2) <= high);
      assert.ok(x + wide <= 300 && y + high <= 300);
    }
  }
});

test("the part that is drawn while it moves is about one in so many, also of points in an order", () => {
  for (const one of [3, 10]) {
    const drawn = Array.from({ length: 30_000 }, (_, i) => i).filter((i) => inPart(i, one) && i % 10 === 0).length;
    assert.ok(Math.abs(drawn - 3000 / one) < 60 + 300 / one, `${drawn} of 3000 for one in ${one}`);
  }
});
