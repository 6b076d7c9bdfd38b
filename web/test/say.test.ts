import assert from "node:assert/strict";
import { test } from "node:test";

import { asideOf, behind } from "../src/page/say.ts";
import type { Picture } from "../src/types.ts";

test("a picture that is not of the step in sight says of which it is, a map on its way also at which its points stand", () => {
  const picture = (step: number | null, reached?: number, final = true): Picture =>
    ({ step, final, places: reached === undefined ? null : { of: "", step: reached } }) as unknown as Picture;
  assert.equal(asideOf(null, false, 5), null);
  assert.equal(asideOf(picture(266), false, 266), null);
  assert.equal(asideOf(picture(200), false, 266), 200);
  assert.equal(asideOf(picture(200), true, 266), null);
  assert.equal(asideOf(picture(null), false, 266), null);
  assert.equal(asideOf(picture(266, 266), false, 266), null);
  assert.equal(asideOf(picture(266, 114), true, 266), 114);
  assert.equal(asideOf(picture(250, 250), false, 266), 250);
  assert.equal(asideOf(picture(250, 250), true, 266), null);
  assert.equal(asideOf(picture(250, 250, false), true, 266), 250);
  assert.equal(asideOf(picture(266, 266, false), true, 266), null);
  assert.match(behind(266, true), /^The training is at step 266: /);
  assert.match(behind(266, false), /^The slider stands at step 266: /);
});
