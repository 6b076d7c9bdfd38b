import assert from "node:assert/strict";
import { test } from "node:test";

import { Estimate } from "../src/page/estimate.ts";

/** What is said at each word of work that is done by a rule of time, in seconds. */
function said(share: (second: number) => number, seconds: number, every = 0.25): { at: number; left: number }[] {
  const estimate = new Estimate();
  const found: { at: number; left: number }[] = [];
  for (let at = 0; at <= seconds; at += every) {
    estimate.hear(at * 1000, share(at));
    const left = estimate.left(at * 1000);
    if (left !== null) found.push({ at, left });
  }
  return found;
}

const WORKS: Record<string, { share: (second: number) => number; end: number }> = {
  steady: { share: (at) => at / 40, end: 40 },
  "slow at first, as what is compiled": { share: (at) => (at < 6 ? at / 600 : 0.01 + ((at - 6) / 14) * 0.99), end: 20 },
  "fast at first": { share: (at) => (at < 4 ? at / 8 : 0.5 + (at - 4) / 72), end: 40 },
};

for (const [name, { share, end }] of Object.entries(WORKS))
  test(`what is said of work that is ${name} comes true`, () => {
    const told = said((at) => Math.min(1, share(at)), end * 0.95);
    assert.ok(told.length > 5, "something is said in the end");
    const near = told.filter(({ at, left }) => Math.abs(at + left - end) <= 0.35 * end);
    assert.ok(near.length >= 0.85 * told.length, `${near.length} of ${told.length}`);
  });

test("nothing is said before it is stable, of what wavers, of what stands still and after its time", () => {
  assert.ok(said((at) => at / 40, 2.5).length === 0);
  let done = 0;
  assert.equal(said((at) => (done += Math.floor(at) % 4 === 0 ? 0.02 : 0.0005), 20).length, 0);
  const estimate = new Estimate();
  for (let at = 0; at <= 5; at += 0.25) estimate.hear(at * 1000, at / 10);
  assert.ok(Math.abs(estimate.left(5000)! - 5) < 0.5);
  assert.equal(estimate.left(9900), null);
  assert.equal(estimate.left(20_000), null);
  estimate.hear(5500, 0.1); // another stage
  assert.equal(estimate.left(5500), null);
});
