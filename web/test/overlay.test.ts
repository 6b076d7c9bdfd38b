import assert from "node:assert/strict";
import { test } from "node:test";

import { overlaid } from "../src/page/overlay.ts";
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
