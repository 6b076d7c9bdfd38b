import assert from "node:assert/strict";
import { test } from "node:test";

import { keyText, kindOf, parseKey, parseSelection, sayKey, selectionText } from "../src/page/address.ts";

const KEYS = [
  "layer:conv1", "layer:conv1@5,8", "layer:", "unit:/3", "unit:conv1/3@5,8", "op:block.softmax#2", "op:block.softmax/3",
  "op:stem.conv2d/3@5,8", "op:chunk.1", "query:attn/1", "pattern:block.2.attn/4", "residual:block.2", "example:4-90",
];

test("every key keeps its spelling", () => {
  for (const text of KEYS) assert.equal(keyText(parseKey(text)!), text);
  assert.equal(selectionText(parseSelection(KEYS.join("+"))), KEYS.join("+"));
});

test("what an op answers is chosen as a layer, and its channels as units", () => {
  assert.equal(kindOf("op:block.softmax"), "layer");
  assert.equal(kindOf("pattern:attn/4"), "unit");
  assert.equal(kindOf("run:a"), "run");
  assert.deepEqual(parseKey("op:block.softmax/3"), { kind: "unit", name: "op:block.softmax", index: [3], place: [] });
  assert.equal(sayKey("op:block.softmax"), "op block.softmax");
});

test("what is no key is none", () => {
  for (const text of ["op:", "op:a/3@", "unit:3", "unit:a/", "cat:3"]) assert.equal(parseKey(text), null);
});
