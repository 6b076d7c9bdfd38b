import assert from "node:assert/strict";
import { test } from "node:test";

import { chips, keyText, kindOf, parseKey, parseSelection, sayKey, selectionText } from "../src/page/address.ts";
import { birthsAt, followed, FollowedSelection, type Births } from "../src/page/births.ts";

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
  assert.equal(sayKey("layer:fc"), "layer fc");
  assert.deepEqual(["layer:", "unit:/1"].map(sayKey), ["the model", "unit 1 of the model"]);
});

test("what is no key is none", () => {
  for (const text of ["op:", "op:a/3@", "unit:3", "unit:a/", "cat:3"]) assert.equal(parseKey(text), null);
});

test("keys follow their units to where they lie at another step, and are nowhere where those are not", () => {
  const first = { "layer:bn": [[0, 10]], "weight:out.weight:1": [[0, 10]] } as unknown as Births;
  const grown = { "layer:bn": [[0, 4], [10, 2], [4, 6]], "weight:out.weight:1": [[0, 4], [10, 2], [4, 6]] } as unknown as Births;
  assert.equal(followed("unit:bn/5@1,2", first, grown), "unit:bn/7@1,2");
  assert.equal(followed("unit:bn/7", grown, first), "unit:bn/5");
  assert.equal(followed("unit:bn/4", grown, first), null);
  assert.equal(followed("weight:out/1,5", first, grown), "weight:out/1,7");
  assert.equal(followed("weight:out.bias/1", first, grown), "weight:out.bias/1");
  assert.deepEqual(["unit:other/5", "layer:bn", "example:5"].map((key) => followed(key, first, grown)), ["unit:other/5", "layer:bn", "example:5"]);
  assert.equal(followed("unit:bn/5", birthsAt([], 3), grown), "unit:bn/7");
  const moves = [{ since: 0, births: first }, { since: 11, births: grown }];
  assert.deepEqual([5, 11, 30].map((step) => birthsAt(moves, step)), [first, grown, grown]);
  const kept = new FollowedSelection();
  assert.equal(kept.turn({ a: ["unit:bn/4", "unit:bn/7"], b: ["unit:bn/0"] }, grown, true), null);
  assert.deepEqual(kept.turn({ a: ["unit:bn/4", "unit:bn/7"], b: ["unit:bn/0"] }, first, false), { a: ["unit:bn/5"], b: ["unit:bn/0"] });
  assert.deepEqual(kept.turn({ a: ["unit:bn/5"], b: ["unit:bn/0"] }, grown, false), { a: ["unit:bn/7", "unit:bn/4"], b: ["unit:bn/0"] });
});

test("many of a kind are let go together", () => {
  const some = ["example:3", "unit:conv/1", "example:5-9"];
  assert.deepEqual(chips(some, 2).map((chip) => chip.text), ["example 3", "example 5 to 9", "unit 1 of conv"]);
  const many = chips([...some, "example:20", "class:1"], 2);
  assert.deepEqual(many.map((chip) => chip.text), ["7 examples", "unit 1 of conv", "class 1"]);
  assert.deepEqual(many[0]!.keys, ["example:3", "example:5-9", "example:20"]);
});
