import assert from "node:assert/strict";
import { test } from "node:test";

import { Scale, extent, nearest, niceStep, tickText } from "../src/marks/axis.ts";
import { duration, format, percent } from "../src/marks/format.ts";

test("a scale goes to pixels and back, straight and logarithmic", () => {
  for (const log of [false, true]) {
    const scale = new Scale([0.01, 100], [10, 210], log);
    for (const value of [0.01, 0.5, 7, 100]) assert.ok(Math.abs(scale.value(scale.at(value)) - value) < 1e-9 * 100);
    assert.equal(scale.at(0.01), 10);
    assert.equal(scale.at(100), 210);
  }
});

test("what has no place on a logarithmic scale is not drawn anywhere", () => {
  const scale = new Scale([0.1, 10], [0, 100], true);
  assert.ok(!Number.isFinite(scale.at(0)));
  assert.ok(!Number.isFinite(scale.at(-1)));
});

test("ticks are round, inside the range, and never alone", () => {
  for (const [low, high] of [[0, 900], [-0.35, 0.42], [1e-7, 3e-7], [-5, 1e6]] as const) {
    const ticks = new Scale([low, high], [0, 100]).ticks(3);
    assert.ok(ticks.length >= 2, `${low} to ${high}: ${ticks}`);
    for (const tick of ticks) assert.ok(tick >= low - 1e-12 && tick <= high * (1 + 1e-12));
  }
  assert.deepEqual(new Scale([0.005, 3], [0, 100], true).ticks(4), [0.01, 0.1, 1]);
  assert.deepEqual(new Scale([0, 3], [0, 100]).ticks(9, "step"), [0, 1, 2, 3]);
});

test("steps are 1, 2 or 5 times a power of ten", () => {
  assert.deepEqual([0.13, 3, 17, 60, 0].map(niceStep), [0.2, 5, 20, 100, 1]);
});

test("all ticks of an axis have the same decimals, and a true minus sign", () => {
  assert.deepEqual([-0.4, 0, 0.4].map((tick) => tickText(tick, [-0.4, 0, 0.4])), ["−0.4", "0.0", "0.4"]);
  assert.deepEqual([0, 500, 1000].map((tick) => tickText(tick, [0, 500, 1000])), ["0", "500", "1,000"]);
});

test("no two ticks of an axis read alike", () => {
  const rows: [number[], "number" | "time", string[]][] = [
    [[9.2e10, 9.205e10, 9.21e10], "number", ["9.200 × 10¹⁰", "9.205 × 10¹⁰", "9.210 × 10¹⁰"]],
    [[1.5e-7, 1.55e-7], "number", ["1.50 × 10⁻⁷", "1.55 × 10⁻⁷"]],
    [[0, 1e6, 2e6], "number", ["0", "1,000,000", "2,000,000"]],
    [[150, 180, 210], "time", ["2.5 min", "3 min", "3.5 min"]],
    [[120, 180], "time", ["2 min", "3 min"]],
  ];
  for (const [ticks, kind, texts] of rows) assert.deepEqual(ticks.map((tick) => tickText(tick, ticks, kind)), texts);
});

test("the range of nothing, of one value, and of a log axis is never empty", () => {
  for (const range of [extent(Infinity, -Infinity, 0.05, false), extent(3, 3, 0.05, false), extent(0, 0, 0.05, false), extent(2, 2, 0.05, true)]) {
    assert.ok(range[0] < range[1]);
  }
});

test("the nearest point of a sorted array is found", () => {
  const xs = [0, 10, 20, 100];
  assert.deepEqual([-5, 4, 6, 61, 1000].map((x) => nearest(xs, x)), [0, 0, 1, 3, 3]);
});

test("numbers have the digits they deserve", () => {
  const pairs: [number, string][] = [
    [0, "0"], [1.4942, "1.49"], [14802, "14,802"], [0.00084, "0.00084"], [0.000068, "0.000068"], [-6.84e-7, "−6.8 × 10⁻⁷"], [1e-9, "10⁻⁹"], [-0.0476, "−0.0476"], [1234.5, "1,234"], [2.5e9, "2.5 × 10⁹"], [NaN, "NaN"], [-Infinity, "−∞"],
  ];
  for (const [value, text] of pairs) assert.equal(format(value), text);
  assert.deepEqual([0.04, 0.003, 0.996, 1, 0.125, 0.375].map(percent), ["4 %", "0.3 %", "99.6 %", "100 %", "12 %", "38 %"]);
  // What lies in the middle goes to the even one, as in sentences, which Python writes: what is no middle goes to the nearer one.
  const middles: [number, string][] = [[3.125, "3.12"], [3.375, "3.38"], [0.03125, "0.0312"], [12.25, "12.2"], [12.35, "12.3"], [2.675, "2.67"],
    [0.09375, "0.0938"], [1000.5, "1,000"], [1001.5, "1,002"], [0.000244140625, "0.00024"], [9.995, "9.99"], [99.75, "99.8"]];
  for (const [value, text] of middles) assert.equal(format(value), text);
  assert.deepEqual([0.4, 12, 180, 9000].map(duration), ["0.4 s", "12 s", "3 min", "2.5 h"]);
});
