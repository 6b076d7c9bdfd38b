// Nodes joined by links: how thick a link is, where it runs, and what is open once a node is clicked.

import assert from "node:assert/strict";
import { test } from "node:test";

import { fitted, link, part, thickness, toggled } from "../src/marks/network.ts";
import type { Network, Vertex } from "../src/types.ts";

test("a link is as thick as it is strong, and never vanishes", () => {
  assert.equal(thickness(-0.5, 1), 4.5);
  assert.equal(thickness(2, 1), 9);
  assert.equal(thickness(0.001, 1), 0.6);
  assert.equal(thickness(NaN, 1), 0.6);
});

test("a link leaves and arrives level, and between dots it is straight", () => {
  assert.equal(link([0, 10, 100, 30], false), "M0 10C50 10 50 30 100 30");
  assert.equal(link([0, 10, 100, 30], true), "M0 10L100 30");
});

test("a node that is opened joins those that are open, and leaves them when it is closed", () => {
  const mark = { vertices: [{ id: "0/1", open: true }, { id: "1/0", open: false }] } as unknown as Network;
  assert.equal(toggled(mark, "1/0"), "0/1,1/0");
  assert.equal(toggled(mark, "0/1"), "");
});

test("boxes are stretched to their place, joints and dots stay as large as they are, and lines stay at their sides", () => {
  const mark = {
    mark: "network", extent: [100, 100], links: { dtype: "<i4", shape: [1, 2], data: [0, 1] }, strengths: { dtype: "<f4", shape: [1], data: [1] }, strongest: 1,
    vertices: [{ form: "box", pixels: { dtype: "<f4", shape: [1, 1], data: [0] } }, { form: "joint", pixels: null }],
    places: { dtype: "<f4", shape: [2, 4], data: Float32Array.of(0, 20, 40, 60, 90, 40, 10, 20) }, ends: { dtype: "<f4", shape: [1, 4], data: Float32Array.of(40, 35, 90, 50) },
  } as unknown as Network;
  const wide = fitted(mark, { width: 200, height: 154, enlarged: false }, 0)!.mark;
  assert.deepEqual([...wide.places.data], [0, 30, 80, 90, 185, 65, 10, 20]);
  assert.deepEqual([...wide.ends!.data], [80, 52.5, 185, 75]);
  assert.deepEqual(wide.extent, [200, 150]);
  const tight = { width: 52, height: 10, enlarged: false };
  assert.deepEqual(fitted(mark, tight, 0)!.mark.extent, [52, 80]); // no narrower and lower than letters need
  const worded = { ...mark, vertices: mark.vertices.map((vertex) => ({ ...vertex, pixels: null })) };
  assert.deepEqual(fitted(worded, tight, 0)!.mark.extent, [52, 100]); // what holds letters alone is as high as they are
});

test("a cell of a matrix chooses its row's unit, last, and the class of its column; a box without one chooses all its keys", () => {
  const mark = { column_labels: ["one", "two"], column_keys: ["class:1", ""] } as unknown as Network;
  const box = { keys: ["unit:a/0", "unit:a/1"], pixels: { dtype: "<f4", shape: [2, 2], data: [0, 1, 2, 3] } } as unknown as Vertex;
  assert.deepEqual(part(box, mark).choose!({ x: 0.1, y: 0.9 }), ["class:1", "unit:a/1"]);
  assert.deepEqual(part(box, mark).choose!({ x: 0.9, y: 0.1 }), ["unit:a/0"]);
  assert.deepEqual(part({ ...box, pixels: null }, mark).choose!({ x: 0.1, y: 0.9 }), box.keys);
});
