/** How views stand where the page is narrow, how the names of a room's other views are laid out, and that its colours can be read. */

import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { test } from "node:test";

import { dotted } from "../src/marks/elements.ts";
import { arrange, linesOf, narrowed, standing } from "../src/page/arrange.ts";

test("names take as many lines as they need behind the question and, in the whole width, below it", () => {
  assert.equal(linesOf([], 300, 1000), 1);
  assert.equal(linesOf([100, 100, 100], 300, 1000), 1);
  assert.equal(linesOf([200, 200, 200, 200], 300, 1000), 2); // 636 beside the question
  assert.equal(linesOf([100, 100, 100], 300, 500), 2); // 136 are no room
  assert.equal(linesOf([900], 300, 1000), 2); // one that is too long for the place behind the question stands below it
  assert.equal(linesOf([1200, 1200], 300, 1000), 3); // and one that is too long for that too, alone
  assert.equal(linesOf([300, 300, 300, 300, 300], 300, 1000), 2); // two behind the question, three below
});

test("names that find no room in their lines stand behind a button, which takes room of the first line", () => {
  assert.equal(standing([300, 300, 300, 300, 300], 300, 1000, 2), 5);
  assert.equal(standing([300, 300, 300, 300, 300], 300, 1000, 1), 1); // 636 beside the question, 576 beside the button too
});

test("a map beside another card stands above it where the page is narrow, nearly as high as the screen where it was so, and low cards stay beside one another", () => {
  const places = [{ columns: 5, rows: 9 }, { columns: 7, rows: 9 }, { columns: 6, rows: 3 }, { columns: 6, rows: 3 }, { columns: 12, rows: 9 }, { columns: 4, rows: 6 }, { columns: 6, rows: 6 }];
  const { spots } = arrange(places.map(narrowed));
  assert.deepEqual(spots.map(({ column, row, columns, rows }) => [column, row, columns, rows]), [
    [1, 1, 12, 8], [1, 9, 12, 8], [1, 17, 6, 3], [7, 17, 6, 3], [1, 20, 12, 9], [1, 29, 12, 6], [1, 35, 12, 4],
  ]);
});

test("a layer's long name breaks behind its dots, and a number nowhere", () => {
  assert.deepEqual(dotted("encoder.layers.0.conv_1"), ["encoder.", "layers.0.", "conv_1"]);
  assert.deepEqual(dotted("cut at 0.25. Then on"), ["cut at 0.25. Then on"]);
});

/** The tokens of one scheme, from the sheet as it is shipped. */
function tokens(scheme: "light" | "dark"): Record<string, string> {
  const text = readFileSync(new URL("../src/tokens.css", import.meta.url), "utf-8");
  const of = (head: string): Record<string, string> => {
    const from = text.indexOf(head);
    return Object.fromEntries([...text.slice(from, text.indexOf("}", from)).matchAll(/--([\w-]+): (#[0-9a-f]{6});/g)].map((found) => [found[1]!, found[2]!]));
  };
  return scheme === "light" ? of(".diorama {") : { ...of(".diorama {"), ...of('.diorama[data-theme="dark"] {') };
}

function luminance(colour: string): number {
  const [r, g, b] = [1, 3, 5].map((at) => {
    const share = parseInt(colour.slice(at, at + 2), 16) / 255;
    return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
  }) as [number, number, number];
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

function contrast(one: string, two: string): number {
  const [a, b] = [luminance(one), luminance(two)];
  return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
}

test("every colour that is written in stands out from every ground by 4.5 : 1, in both schemes", () => {
  const low: string[] = [];
  for (const scheme of ["light", "dark"] as const) {
    const table = tokens(scheme);
    for (const ink of ["ink", "muted", "accent", "warn-ink", "bad"])
      for (const ground of ["paper", "raised", "wash"]) {
        const ratio = contrast(table[ink]!, table[ground]!);
        if (!(ratio >= 4.5)) low.push(`${scheme}: ${ink} on ${ground} ${ratio.toFixed(2)}`);
      }
    const on = contrast(table["on-accent"]!, table["accent"]!);
    if (!(on >= 4.5)) low.push(`${scheme}: on-accent ${on.toFixed(2)}`);
  }
  assert.deepEqual(low, []);
});

/** The texts of all sheets and components. */
function* sources(folder: URL): Generator<string> {
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    const where = new URL(entry.name + (entry.isDirectory() ? "/" : ""), folder);
    if (entry.isDirectory()) yield* sources(where);
    else if (/\.(css|svelte|ts)$/.test(entry.name)) yield readFileSync(where, "utf-8");
  }
}

test("every token that a style names is set somewhere: what is not draws nothing, without a word", () => {
  const all = [...sources(new URL("../src/", import.meta.url))].join("\n");
  const named = new Set([...all.matchAll(/var\((--[\w-]+)/g)].map((found) => found[1]!));
  assert.ok(named.size > 20);
  assert.deepEqual([...named].filter((name) => !new RegExp(`${name}\\s*:|"${name}"|style:${name}\\b`).test(all)), []);
});
