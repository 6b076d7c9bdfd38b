// Nodes joined by links: how thick a link is, where it runs, and what is open once a node is clicked.

import assert from "node:assert/strict";
import { test } from "node:test";

import { link, thickness, toggled } from "../src/marks/network.ts";
import type { Network } from "../src/types.ts";

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
