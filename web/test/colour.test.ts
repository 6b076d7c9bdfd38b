import assert from "node:assert/strict";
import { test } from "node:test";

import { CLIPPED, NAN, PLAIN, colourBytes, colourNumbers, contrast, css, luminance, lut, pack, readable, rgb, specials } from "../src/colour.ts";
import { CLASSES, INFINITE, PAPERS, type Limits } from "../src/types.ts";

const SIGNED: Limits = { low: -2, high: 2, scale: "diverging", nan: 1, infinite: 1, clipped: 1, unit: "" };

test("zero of a signed scale is the paper itself, in both themes", () => {
  for (const theme of ["light", "dark"] as const) {
    const table = lut("diverging", theme);
    assert.equal(table.length, 257);
    assert.equal(table[128], pack(rgb(PAPERS[theme])));
  }
});

test("blue is positive and orange is negative", () => {
  const [, , blue = 0] = (css(2, SIGNED, "light").match(/\d+/g) ?? []).map(Number);
  const [red = 0] = (css(-2, SIGNED, "light").match(/\d+/g) ?? []).map(Number);
  assert.ok(blue > 150);
  assert.ok(red > 150);
});

test("infinite cells are magenta, NaN cells are left open for their hatch, clipped ones take the end's colour", () => {
  const pixels = new Uint32Array(5);
  colourNumbers([NaN, Infinity, 99, -99, 2], SIGNED, "light", pixels);
  assert.equal(pixels[0], 0);
  assert.equal(pixels[1], pack(rgb(INFINITE)));
  const table = lut("diverging", "light");
  assert.deepEqual([pixels[2], pixels[3], pixels[4]], [table[256], table[0], table[256]]);
});

test("cells that need a hatch or a notch are found, and a value on the limit is not clipped", () => {
  assert.deepEqual([...(specials([NaN, 3, 2, Infinity, 0], SIGNED) ?? [])], [NAN, CLIPPED, PLAIN, PLAIN, PLAIN]);
  assert.equal(specials([0, 1], { ...SIGNED, nan: 0, infinite: 0, clipped: 0 }), null);
});

test("colours of an image's own pass unchanged, as bytes and as floats", () => {
  const pixels = new Uint32Array(1);
  colourBytes({ dtype: "u1", shape: [1, 1, 3], data: new Uint8Array([10, 20, 30]) }, pixels);
  assert.equal(pixels[0], pack([10, 20, 30]));
  colourBytes({ dtype: "f4", shape: [1, 1, 4], data: new Float32Array([0, 1, 2, 0.5]) }, pixels);
  assert.equal(pixels[0], pack([0, 255, 255], 128));
});

test("text in a class's colour can be read on either paper", () => {
  for (const theme of ["light", "dark"] as const) {
    for (const colour of CLASSES) {
      const [r = 0, g = 0, b = 0] = (readable(colour, theme).match(/\d+/g) ?? []).map(Number);
      assert.ok(contrast(luminance([r, g, b]), luminance(rgb(PAPERS[theme]))) >= 4.45, `${colour} on ${theme}`);
    }
  }
});
