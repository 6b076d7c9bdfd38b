// Points that go from map to map: from where they stood on the screen to where they stand, each followed by its key.

import assert from "node:assert/strict";
import { test } from "node:test";

import { between, carried, follows, still } from "../src/marks/scatterglide.ts";
import { FIRST, placed } from "../src/marks/scatterplan.ts";
import type { Scatter } from "../src/types.ts";

function scatter(points: number[], spans: [number, number][], more: object = {}): Scatter {
  return {
    mark: "scatter", points: { dtype: "f4", shape: [points.length / spans.length, spans.length], data: Float32Array.from(points) }, spans,
    kind: "example", keys: [], drawn: "points", ...more,
  } as unknown as Scatter;
}

test("points begin where they lay on the screen, also where the axes reach farther, and end at their places", () => {
  const before = scatter([1, 2, -3, 0.5], [[-4, 4], [-4, 4]]);
  const after = scatter([6, -2, 0, 1], [[-10, 10], [-6, 14]]);
  const from = carried(before.points.data as Float32Array, before, after);
  const lay = placed(before, before.points.data, 2, FIRST, 300).at;
  const lie = placed(after, between(from, after.points.data as Float32Array, 0), 2, FIRST, 300).at;
  for (let i = 0; i < 4; i++) assert.ok(Math.abs(lay[i]! - lie[i]!) < 1e-3);
  assert.deepEqual([...between(from, after.points.data as Float32Array, 1)], [6, -2, 0, 1]);
});

test("on the way each comes nearer with each picture, and never goes beyond", () => {
  const [from, to] = [Float64Array.from([0, 10]), Float32Array.from([8, -10])];
  const ways = [0, 0.1, 0.4, 0.5, 0.9, 1].map((share) => [...between(from, to, share)]);
  for (let k = 1; k < ways.length; k++) assert.ok(ways[k]![0]! > ways[k - 1]![0]! && ways[k]![1]! < ways[k - 1]![1]!);
  assert.deepEqual(ways[3], [4, 0]);
  assert.deepEqual([between(from, to, 7)[0], between(from, to, -1)[0]], [8, 0]);
});

test("a point without a place on either end stands where it ends", () => {
  assert.deepEqual([...between(Float64Array.from([NaN, 1]), Float32Array.from([3, NaN]), 0.5)], [3, NaN]);
});

test("only the same points are followed", () => {
  const spans: [number, number][] = [[0, 1], [0, 1]];
  const one = scatter([0, 0, 1, 1], spans, { keys: ["unit:a/0", "unit:a/1"] });
  assert.ok(follows(one, scatter([1, 0, 0, 1], spans, { keys: ["unit:a/0", "unit:a/1"] })));
  assert.ok(!follows(one, scatter([1, 0, 0, 1], spans, { keys: ["unit:a/0", "unit:a/2"] })));
  assert.ok(!follows(one, scatter([1, 0], spans, { keys: ["unit:a/0"] })));
  assert.ok(!follows(one, scatter([1, 0, 0, 1], spans)));
  assert.ok(!follows(one, scatter([1, 0, 0, 1], spans, { keys: one.keys, drawn: "thumbnails" })));
  const many = Array.from({ length: 8002 }, () => 0);
  assert.ok(!follows(scatter(many, spans), scatter(many, spans)));
});

test("what lies where it goes asks for no picture", () => {
  const one = scatter([0.25, 0.5], [[0, 1], [0, 1]]);
  assert.ok(still(carried(one.points.data as Float32Array, one, one), one));
  assert.ok(!still(carried(one.points.data as Float32Array, one, one), scatter([0.25, 0.6], [[0, 1], [0, 1]])));
  const wider = scatter([0.25, 0.5], [[0, 2], [0, 1]]);
  assert.ok(!still(carried(one.points.data as Float32Array, one, wider), wider));
});
