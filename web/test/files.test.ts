import assert from "node:assert/strict";
import { test } from "node:test";

import { LONGEST_TEXT } from "../src/protocol.ts";
import { fromFile, numbers, written } from "../src/page/pixels.ts";

const file = (name: string, type: string, content: string) => new File([content], name, { type });

test("a file that the network does not take is refused before anything of it is sent", async () => {
  await assert.rejects(fromFile(file("a.wav", "audio/wav", "RIFF"), "image", {}), /a\.wav is no picture, and this network takes a picture/);
  await assert.rejects(fromFile(file("a.png", "image/png", "x"), "tokens", {}), /a\.png is a picture, and this network takes a text/);
  await assert.rejects(fromFile(file("a.wav", "audio/wav", "RIFF"), "sound", {}), /takes no file/);
  assert.deepEqual(await fromFile(file("a.txt", "text/plain", "to be"), "tokens", {}), { kind: "text", text: "to be" });
});

test("a text is one: no other bytes, not empty, no longer than is looked at", () => {
  assert.throws(() => written("a.txt", "PNG\0\0"), /other bytes/);
  assert.throws(() => written("a.txt", "caf\ufffd"), /other bytes/);
  assert.throws(() => written("a.txt", " \n"), /empty/);
  assert.throws(() => written("a.txt", "x".repeat(LONGEST_TEXT + 1)), /50,001 characters; at most 50,000/);
});

test("a table gives its first row of finite numbers, as many as the network takes", () => {
  const kind = { columns: ["across", "up"] };
  assert.deepEqual(numbers("a.csv", "across,up\n1,nan\n3,4\n", kind), { kind: "row", values: [3, 4] });
  assert.throws(() => numbers("a.csv", "a,b\n1,inf\n,\n", kind), /no row of numbers that are all finite/);
  assert.throws(() => numbers("a.csv", "1,2,3", kind), /holds 3, and this network takes 2/);
});
