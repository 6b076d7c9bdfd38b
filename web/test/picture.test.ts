import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { test } from "node:test";

import { decode, row } from "../src/picture.ts";
import type { Group, Heatmap, Tiles } from "../src/types.ts";

/** Bytes of a picture as Python's `to_bytes` lays them out. */
function encode(picture: unknown, arrays: (Float32Array | Uint8Array)[]): ArrayBuffer {
  let offset = 0;
  const layout = arrays.map((array) => {
    const entry = { dtype: array instanceof Float32Array ? "f4" : "u1", shape: [array.length], offset };
    offset += Math.ceil(array.byteLength / 8) * 8;
    return entry;
  });
  let header = JSON.stringify({ picture, arrays: layout });
  header += " ".repeat((8 - ((new TextEncoder().encode(header).length + 8) % 8)) % 8);
  const text = new TextEncoder().encode(header);
  const bytes = new Uint8Array(8 + text.length + offset);
  bytes.set([0x44, 0x49, 0x4f, 0x31]);
  new DataView(bytes.buffer).setUint32(4, text.length, true);
  bytes.set(text, 8);
  arrays.forEach((array, i) => bytes.set(new Uint8Array(array.buffer, array.byteOffset, array.byteLength), 8 + text.length + (layout[i]?.offset ?? 0)));
  return bytes.buffer;
}

const TILES = { mark: "tiles", images: { $: 0 }, limits: { low: 0, high: 1 } };

test("what the header leaves out holds its default, in nested marks too", () => {
  const picture = decode(encode({ title: "t", body: { mark: "group", children: [TILES] } }, [new Float32Array([1, 2])]));
  const tiles = (picture.body as Group).children[0] as Tiles;
  assert.equal(tiles.size, 44);
  assert.equal(tiles.limits?.scale, "magnitude");
  assert.deepEqual(tiles.labels, []);
  assert.equal(picture.final, true);
  assert.equal((picture.body as Group).direction, "column");
});

test("arrays are views into the buffer, with NaN and infinities as they were", () => {
  const values = new Float32Array([NaN, Infinity, -0]);
  const buffer = encode({ title: "", body: TILES }, [values]);
  const data = (decode(buffer).body as Tiles).images.data;
  assert.equal(data.buffer, buffer);
  assert.ok(Number.isNaN(data[0]));
  assert.equal(data[1], Infinity);
  assert.ok(Object.is(data[2], -0));
});

test("a picture decodes where it does not start at a multiple of eight", () => {
  const plain = new Uint8Array(encode({ title: "moved", body: TILES }, [new Float32Array([7])]));
  for (const start of [8, 5]) {
    const moved = new Uint8Array(plain.length + start);
    moved.set(plain, start);
    const picture = decode(moved.buffer, start);
    assert.equal(picture.title, "moved");
    assert.equal((picture.body as Tiles).images.data[0], 7);
  }
});

test("bytes that are no picture are refused by name", () => {
  assert.throws(() => decode(new ArrayBuffer(64)), /not a picture/);
});

test("a row of an array keeps the array's own memory", () => {
  const array = { dtype: "f4", shape: [2, 2], data: new Float32Array([1, 2, 3, 4]) };
  assert.deepEqual([...row(array, 1).data], [3, 4]);
  assert.equal(row(array, 1).data.buffer, array.data.buffer);
});

test("what Python writes is what the page reads", { skip: process.env["PYTHON"] ? false : "set PYTHON to an interpreter with diorama" }, () => {
  const code = `
import sys, numpy as np
from diorama.core.marks import Heatmap
from diorama.core.picture import Picture
from diorama.core.colour import symmetric
values = np.array([[1.5, np.nan], [-np.inf, 4]], np.float16)
sys.stdout.buffer.write(Picture(title="ü", body=Heatmap(values=values, limits=symmetric(values), row_labels=("a", "b"))).to_bytes())`;
  const bytes = new Uint8Array(execFileSync(process.env["PYTHON"] as string, ["-c", code]));
  const picture = decode(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength));
  const heatmap = picture.body as Heatmap;
  assert.equal(picture.title, "ü");
  assert.deepEqual([...heatmap.values.data], [1.5, NaN, -Infinity, 4]);
  assert.deepEqual(heatmap.values.shape, [2, 2]);
  assert.equal(heatmap.limits.nan, 1);
});
