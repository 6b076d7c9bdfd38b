import assert from "node:assert/strict";
import { test } from "node:test";

import { overlaid, thrownBack } from "../src/page/overlay.ts";
import type { Node, Picture } from "../src/types.ts";

function part(title: string, mark = "image", note = ""): Node {
  return { mark, title, note } as unknown as Node;
}

function group(children: Node[], title = ""): Node {
  return { mark: "group", title, children, direction: "row" } as unknown as Node;
}

function picture(body: Node, final = true): Picture {
  return { title: "", body, final } as unknown as Picture;
}

test("a refining grid keeps the parts that it has not come to, and says which", () => {
  const whole = picture(group(["gradient", "lrp", "occlusion"].map((name) => part(name, "image", "old"))));
  const found = overlaid(whole, picture(group([part("gradient", "image", "new")]), false))!;
  const { children } = found.picture.body as unknown as { children: { title: string; note: string }[] };
  assert.deepEqual(children.map(({ title, note }) => `${title} ${note}`), ["gradient new", "lrp old", "occlusion old"]);
  assert.deepEqual(found.stale, [[1], [2]]);
  assert.equal(found.picture.final, false);
});

test("rows inside rows are matched by their first part, and titles by their words", () => {
  const row = (share: string): Node => group([part("start"), part(`straight, at ${share}`), part("end")]);
  const whole = picture(group([row("0.5"), group([part("answer", "lines")]), group([part("units", "table")])]));
  const found = overlaid(whole, picture(group([group([part("start"), part("end")]), group([part("answer", "lines")])]), false))!;
  assert.deepEqual(found.stale, [[0, 1], [2]]);
  const moved = overlaid(whole, picture(group([row("0.82")]), false))!;
  assert.deepEqual(moved.stale, [[1], [2]]);
});

test("what does not belong together is not mixed", () => {
  const whole = picture(group([part("gradient"), part("lrp")]));
  assert.equal(overlaid(whole, picture(group([part("weights", "tiles")]), false)), null);
  assert.equal(overlaid(whole, picture(group([part("gradient"), part("lrp")]), false)), null);
  assert.equal(overlaid(whole, picture(part("gradient"), false)), null);
  assert.equal(overlaid(picture(group([part("a"), part("a")])), picture(group([part("a")]), false)), null);
});

test("what was reached is not thrown back: a map on the way is shown where it is a newer one, or another", () => {
  const map = (step: number, reached: number, more: object = {}): Picture =>
    ({ title: "", body: part("points", "scatter"), final: false, step, places: { of: "projection/1", step: reached }, ...more }) as unknown as Picture;
  const shown = map(540, 540, { final: true });
  assert.ok(thrownBack(shown, map(560, 29), false));
  assert.ok(thrownBack(shown, map(560, 540), true));
  assert.ok(!thrownBack(shown, map(560, 540), false)); // the same places, what is chosen lit
  assert.ok(!thrownBack(shown, map(560, 550), true));
  assert.ok(!thrownBack(shown, map(560, 29, { final: true }), false));
  assert.ok(!thrownBack(shown, map(560, 29, { places: { of: "projection/2", step: 29 } }), false));
  assert.ok(!thrownBack(shown, map(560, 29, { places: null }), false));
  assert.ok(!thrownBack({ ...shown, places: null }, map(560, 29), false));
  assert.ok(!thrownBack(shown, map(300, 29), false)); // the slider was drawn back
  assert.ok(thrownBack(map(540, 400), map(560, 29), true));
});

test("at the live end a whole picture stands until the next one is whole, but where that one's parts come one by one", () => {
  const network = (final: boolean): Picture => picture(group([part("", "network")]), final);
  assert.ok(thrownBack(network(true), network(false), true));
  assert.ok(!thrownBack(network(true), network(true), true));
  assert.ok(!thrownBack(network(false), network(false), true)); // nothing whole is on show yet
  assert.ok(!thrownBack(network(true), network(false), false)); // another step was asked for
  const maps = picture(group([part("gradient"), part("lrp")]));
  assert.ok(!thrownBack(maps, picture(group([part("gradient")]), false), true));
});
