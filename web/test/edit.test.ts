import assert from "node:assert/strict";
import { test } from "node:test";

import { evenly, pathText, readPath, readStrokes, strokesText } from "../src/marks/path.ts";
import {
  NOTHING, Smear, Stroke, bytesOf, changed, countChanged, groundOf, isNothing, laid, pasted, warpBack, type Pixels,
} from "../src/page/edit.ts";

/** A grey picture of numbers that tell where they stand. */
function picture(width = 9, height = 7, channels: 1 | 3 = 1): Pixels {
  const data = new Float32Array(width * height * channels);
  for (let i = 0; i < data.length; i++) data[i] = (i * 7) % 251;
  return { width, height, channels, data };
}

function at(pixels: Pixels, x: number, y: number, channel = 0): number {
  return pixels.data[(y * pixels.width + x) * pixels.channels + channel]!;
}

test("what is not changed stays as it is, byte for byte", () => {
  const one = picture(9, 7, 3);
  assert.ok(isNothing({ ...NOTHING, pulls: [{ from: { x: 3, y: 3 }, to: { x: 3, y: 3 } }] }));
  assert.equal(changed(one, NOTHING, [0, 0, 0]), one);
  assert.deepEqual([...bytesOf(one)], [...one.data]);
  assert.equal(countChanged(bytesOf(one), bytesOf(one), 3), 0);
});

test("a shift by whole pixels moves the very numbers, and the ground comes in", () => {
  const one = picture();
  const two = changed(one, { ...NOTHING, right: 2, down: -1 }, [77]);
  assert.equal(at(two, 4, 3), at(one, 2, 4));
  assert.equal(at(two, 1, 3), 77);
  assert.equal(at(two, 5, 6), 77);
});

test("a quarter turn clockwise brings the left edge to the top, four of them bring all back", () => {
  const one = picture(7, 7);
  const two = changed(one, { ...NOTHING, turn: 90 }, [0]);
  for (let i = 0; i < 7; i++) assert.ok(Math.abs(at(two, 6 - i, 0) - at(one, 0, i)) < 1e-2);
  let whole = one;
  for (let i = 0; i < 4; i++) whole = changed(whole, { ...NOTHING, turn: 90 }, [0]);
  assert.deepEqual([...bytesOf(whole)], [...bytesOf(one)]);
});

test("brightness adds, contrast spreads about the middle grey", () => {
  const one: Pixels = { width: 3, height: 1, channels: 1, data: Float32Array.of(27.5, 127.5, 147.5) };
  assert.deepEqual([...changed(one, { ...NOTHING, brightness: 0.1 }, [0]).data], [53, 153, 173]);
  assert.deepEqual([...changed(one, { ...NOTHING, contrast: 1 }, [0]).data], [-172.5, 127.5, 187.5]);
  assert.deepEqual([...bytesOf(changed(one, { ...NOTHING, contrast: 1 }, [0]))], [0, 128, 188]);
});

test("a warp brings each handle's pixel under the handle, holds what rests, and leaves what is far", () => {
  const pulls = [
    { from: { x: 10, y: 10 }, to: { x: 15, y: 12 } },
    { from: { x: 20, y: 11 }, to: { x: 20, y: 11 } },
    { from: { x: 12, y: 18 }, to: { x: 11, y: 22 } },
  ];
  const back = warpBack(pulls, 5)!;
  for (const { from, to } of pulls) {
    const found = back(to);
    assert.ok(Math.hypot(found.x - from.x, found.y - from.y) < 1e-3);
  }
  const far = back({ x: 60, y: 60 });
  assert.ok(Math.hypot(far.x - 60, far.y - 60) < 1e-6);
  assert.equal(warpBack([pulls[1]!], 5), null);
});

test("one pull never folds the picture over, however far it goes", () => {
  const back = warpBack([{ from: { x: 20, y: 20 }, to: { x: 45, y: 20 } }], 3)!;
  let last = -Infinity;
  for (let x = -20; x < 90; x += 0.5) {
    const found = back({ x, y: 20 }).x;
    assert.ok(found > last, `at ${x}`);
    last = found;
  }
});

test("a stroke lays its colour once, however often it passes, and an edge of half a pixel half", () => {
  const one: Pixels = { width: 9, height: 9, channels: 3, data: new Float32Array(243).fill(100) };
  const stroke = new Stroke(one);
  for (let i = 0; i < 5; i++) for (const x of [2.5, 6.5]) stroke.to({ x, y: 4.5 }, 1);
  const two = laid(one, stroke, [255, 0, 50]);
  assert.deepEqual([0, 1, 2].map((c) => at(two, 4, 4, c)), [255, 0, 50]);
  assert.equal(at(two, 4, 5), 100 + 155 * 0.5);
  assert.equal(at(two, 4, 7), 100);
  assert.equal(at(one, 4, 4), 100);
});

test("a smear takes along what lies under it", () => {
  const one: Pixels = { width: 20, height: 9, channels: 1, data: new Float32Array(180) };
  for (let y = 0; y < 9; y++) for (let x = 0; x < 8; x++) one.data[y * 20 + x] = 200;
  const two = new Smear(one, { x: 6.5, y: 4.5 }, 2).to({ x: 12.5, y: 4.5 });
  assert.ok(at(two, 9, 4) > 60 && at(two, 9, 4) > at(two, 12, 4));
  assert.equal(at(two, 9, 0), 0);
  assert.equal(at(one, 9, 4), 0);
});

test("a patch of another picture is laid in pixel for pixel, cut at the border", () => {
  const [one, other] = [picture(9, 7, 3), picture(12, 12, 3)];
  const two = pasted(one, other, { x: 2, y: 3, width: 4, height: 4 }, { x: 0, y: 3 });
  assert.equal(at(two, 0, 2, 1), at(other, 4, 4, 1));
  assert.equal(at(two, 1, 4, 2), at(other, 5, 6, 2));
  assert.equal(at(two, 2, 3), at(one, 2, 3));
});

test("the ground is the border's own colour", () => {
  const one: Pixels = { width: 5, height: 5, channels: 1, data: new Float32Array(25).fill(255) };
  one.data[12] = 3;
  assert.deepEqual(groundOf(one), [255]);
});

test("a drawn line keeps its ends and its shape in 64 places, and its text is read back", () => {
  const drawn = Array.from({ length: 400 }, (_, i) => [Math.cos(i / 60) * 90, Math.sin(i / 60) * 90] as const);
  const found = evenly(drawn, 64);
  assert.equal(found.length, 64);
  assert.deepEqual([found[0], found.at(-1)], [drawn[0], drawn.at(-1)]);
  for (const [x, y] of found) assert.ok(Math.abs(Math.hypot(x, y) - 90) < 0.1);
  assert.deepEqual(readPath(pathText([[1.234567, -2], [3, 4e-7]])), [[1.235, -2], [3, 4e-7]]);
  assert.deepEqual(readPath(""), []);
  assert.deepEqual(readStrokes(strokesText([[[0, 0], [1, 1]], [[2, 3]]])), [[[0, 0], [1, 1]], [[2, 3]]]);
  assert.deepEqual(readStrokes(""), []);
  assert.equal(evenly([[0, 0], [1, 0]], 64).length, 2);
});
