import assert from "node:assert/strict";
import { test } from "node:test";

import { span } from "../src/marks/bars.ts";
import { flowsBetween, thickness, unitAt } from "../src/marks/blocks.ts";
import { sparkPath } from "../src/marks/card.ts";
import { Chosen, kindOf, numberOf } from "../src/marks/context.ts";
import { outline } from "../src/marks/contour.ts";
import { pixelAt } from "../src/marks/image.ts";
import { HALVES } from "../src/marks/halves.ts";
import { drawPicture } from "../src/marks/index.ts";
import { namedRows, under } from "../src/marks/heatmap.ts";
import { lastParts, parted } from "../src/marks/elements.ts";
import { fitted } from "../src/marks/heatmap.ts";
import { shortened } from "../src/marks/sheet.ts";
import { spread } from "../src/marks/lineplan.ts";
import { order } from "../src/marks/table.ts";
import { visible, wordStarts } from "../src/marks/text.ts";
import { choose } from "../src/own.ts";
import type { Bars, Blocks, Heatmap, Image, NdArray, Table } from "../src/types.ts";

function array(values: number[]): NdArray {
  return { dtype: "f8", shape: [values.length], data: new Float64Array(values) };
}

test("a unit is chosen when a place of it is, and a range of examples holds each of them", () => {
  const chosen = new Chosen(["unit:conv2/7@5,8", "example:4-9"]);
  assert.ok(chosen.has("unit:conv2/7"));
  assert.ok(chosen.has("example:4") && chosen.has("example:9"));
  assert.ok(!chosen.has("example:10") && !chosen.has("unit:conv2/8") && !chosen.has(""));
  assert.deepEqual([kindOf("step:12"), numberOf("step:12"), numberOf("layer:12")], ["step", 12, null]);
});

test("a click replaces its kind only, toggles with a key held, and lets go of the only one", () => {
  const before = ["class:1", "unit:a/1"];
  assert.deepEqual(choose(before, ["unit:a/2"], "one"), ["class:1", "unit:a/2"]);
  assert.deepEqual(choose(before, ["unit:a/2"], "toggle"), ["class:1", "unit:a/1", "unit:a/2"]);
  assert.deepEqual(choose(before, ["unit:a/1"], "toggle"), ["class:1"]);
  assert.deepEqual(choose(before, ["unit:a/1"], "one"), ["class:1"]);
});

test("rows sort by any column, NaN last either way, equal ones in their first order", () => {
  const columns = [
    { name: "loss", kind: "number", numbers: array([2, NaN, 1, 2]), texts: [], images: null },
    { name: "name", kind: "text", numbers: null, texts: ["b10", "b9", "a", "b9"], images: null },
  ];
  const table = { columns, row_keys: [] } as unknown as Table;
  assert.deepEqual(order(table, "loss", true), [0, 3, 2, 1]);
  assert.deepEqual(order(table, "loss", false), [2, 0, 3, 1]);
  assert.deepEqual(order(table, "name", false), [2, 1, 3, 0]);
  assert.deepEqual(order(table, "", false), [0, 1, 2, 3]);
});

test("bars share a range that holds zero, and survive NaN alone", () => {
  const bars = (values: number[]): Bars => ({ values: array(values), reference: null, limits: null }) as unknown as Bars;
  assert.deepEqual(span(bars([1, 3])), { low: 0, high: 3 });
  assert.deepEqual(span(bars([-1, NaN, 3])), { low: -1, high: 3 });
  assert.deepEqual(span(bars([NaN])), { low: 0, high: 1 });
});

test("labels at line ends are moved apart and stay inside", () => {
  const labels = spread([{ y: 50 }, { y: 52 }, { y: 99 }, { y: 100 }], 0, 100);
  for (let i = 1; i < labels.length; i++) assert.ok((labels[i]?.y ?? 0) - (labels[i - 1]?.y ?? 0) >= 14);
  assert.ok((labels.at(-1)?.y ?? 0) <= 100);
});

test("a curve breaks where there is no number, and a flat one lies in the middle", () => {
  assert.equal(sparkPath([1, NaN, 1]), "M0 50M100 50");
  assert.equal(sparkPath([NaN]), "");
  assert.equal(sparkPath([0, 1]), "M0 95L100 5");
});

test("a contour surrounds what is above the level", () => {
  const plane = { dtype: "f8", shape: [3, 3], data: new Float64Array([0, 0, 0, 0, 1, 0, 0, 0, 0]) };
  const path = outline(plane, 0.5);
  assert.equal(path.match(/M/g)?.length, 4);
  assert.ok(path.includes("1.5 1"));
  assert.equal(outline(plane, 2), "");
});

test("rows that lie close and share a name are named once, in their middle; apart, each has its own", () => {
  assert.deepEqual(namedRows(["a", "a", "a", "a", "b", "b", "b", "b", "c"], 3), [{ label: "a", middle: 2 }, { label: "b", middle: 6 }]);
  assert.deepEqual(namedRows(["a", "a", "b"], 0.9).map((one) => one.middle), [0.5, 1.5, 2.5]);
  assert.deepEqual(namedRows(["a", "b", "c", "d"], 2).map((one) => one.label), ["a", "c"]);
});

test("names of columns that are wider than their cells are written upwards, and numbers are not", () => {
  const named = (labels: string[]): Heatmap => ({ column_labels: labels }) as unknown as Heatmap;
  assert.equal(under(named([]), 30), 0);
  assert.equal(under(named(["conv1", "fc"]), 44), 18);
  assert.ok(under(named(["features.conv1", "fc"]), 44) > 80);
  assert.equal(under(named(["features.conv1", "fc"]), 200), 18);
  assert.equal(under(named(["100000", "200000"]), 20), 18);
  assert.equal(under(named(["a name that is far too long to be written upwards whole", "b"]), 44), 110);
  assert.equal(under(named(["features.conv1", "fc"]), 5), 18);
});

test("white space in tokens can be seen", () => {
  assert.deepEqual(["\n", " ", "\t", "a"].map((token) => visible(token, true)), ["⏎", "·", "⇥", "a"]);
});

test("a line grows with its share, and never beyond what is meant", () => {
  assert.deepEqual([-1, 0, 0.5, 1, 7].map(thickness), [0.5, 0.5, 4.3, 8, 8]);
});

test("what flows between two cards is written between them", () => {
  const blocks = [{ id: "a" }, { id: "b" }, { id: "c" }];
  const edges = [{ source: "a", target: "b", label: "ReLU" }, { source: "a", target: "c", label: "skip" }];
  assert.deepEqual(flowsBetween({ blocks, edges } as unknown as Blocks), ["ReLU", "", ""]);
});

test("a text breaks between words", () => {
  assert.deepEqual(wordStarts([..."to be\n  or"], true), [0, 3, 6, 8]);
  assert.deepEqual(wordStarts(["The", " cat", "s", " sat"], false), [0, 1, 3]);
  assert.deepEqual(wordStarts(["un", "##do", "it"], false), [0, 2]);
  assert.deepEqual(wordStarts([], true), []);
  assert.deepEqual(wordStarts([..."to␣be↵␣or"], true), [0, 3, 6, 7]);
  const letters = [..."acgt".repeat(10)];
  assert.equal(wordStarts(letters, true).length, 40, "letters without a blank break anywhere");
  assert.deepEqual(wordStarts(letters.slice(0, 24), true), [0]);
});

test("a small map in a card is its unit, and a strip is a unit a cell", () => {
  const block = (shape: number[], key = "layer:conv1"): Blocks["blocks"][number] =>
    ({ key, maps: { dtype: "f4", shape, data: new Float32Array(shape.reduce((a, b) => a * b, 1)) } }) as unknown as Blocks["blocks"][number];
  assert.equal(unitAt(block([8, 17, 17]), 0.3), "unit:conv1/2");
  assert.equal(unitAt(block([1, 1, 48]), 0.999), "unit:conv1/47");
  assert.equal(unitAt(block([1, 17, 68]), 0.5), null);
  assert.equal(unitAt(block([8, 17, 17], "op:relu"), 0.3), null);
});

test("a long name of a layer keeps its end when it is cut, and words lose theirs", () => {
  const name = "encoder.layers.encoder_layer_11.self_attention.out_proj";
  const [begin, end] = parted(`Weights of ${name}`);
  assert.equal(begin + end, `Weights of ${name}`);
  assert.ok(end.endsWith("self_attention.out_proj"));
  assert.deepEqual(parted("Activations of example 0, sorted by strength"), ["Activations of example 0, sorted by strength", ""]);
  assert.deepEqual(lastParts("enc.layers.0.linear1"), ["enc.layers.", "0.linear1"]);
  for (const whole of ["conv2", "layer.0.conv", "0.123456789012345", "unit 3 of enc.layers.0.linear1"]) assert.deepEqual(lastParts(whole), [whole, ""]);
  assert.equal(shortened(name, 12), "enco…out_proj");
  assert.equal(shortened("upper moon", 4), "uppe…");
});

test("names of one wide letter have their room beside a matrix", () => {
  const side = (label: string): number => {
    const mark = { mark: "heatmap", values: { dtype: "f4", shape: [1, 1], data: new Float32Array(1) }, square: true, row_labels: [label], column_labels: [], row_title: "", column_title: "", size: 10 };
    return fitted(mark as unknown as Heatmap, { width: 300, height: 60, enlarged: false }, 0)!.width;
  };
  assert.equal(side("i"), side("a"));
  for (const wide of ["W", "文", "🙂"]) assert.ok(side(wide) >= side("a") + 5, wide);
});

/** As much of an element as a mark needs to say that it failed. */
class Place {
  className = "";
  textContent = "";
  children: Place[] = [];
  dataset = {};
  classList = { add: () => {}, remove: () => {} };
  replaceChildren(...children: Place[]): void {
    this.children = children;
  }
  get said(): string {
    return this.textContent + this.children.map((child) => child.said).join("");
  }
}

test("a half that throws is told by its mark's name in its place, the others are drawn, and what comes next is drawn anew", (t) => {
  const told = t.mock.method(console, "error", () => {});
  const page = globalThis as { document?: unknown };
  page.document = { createElement: () => new Place() };
  const halves = HALVES as unknown as Record<string, unknown>;
  const before = { ...halves };
  const left: string[] = [];
  const half = (element: Place, mark: { name: string; ill?: string }, _: unknown, any: (e: Place, m: unknown, c: unknown) => { update(m: unknown): void }): unknown => {
    if (mark.ill === "draw") throw new Error("no ink");
    const parts = ((mark as { parts?: unknown[] }).parts ?? []).map((part) => {
      const place = new Place();
      element.children.push(place);
      return any(place, part, {});
    });
    if (mark.name) element.replaceChildren(Object.assign(new Place(), { textContent: mark.name }));
    return {
      update(next: { name: string; ill?: string; parts?: unknown[] }) {
        if (next.ill === "update") throw new Error("no room");
        parts.forEach((part, i) => part.update(next.parts?.[i]));
        if (next.name) element.replaceChildren(Object.assign(new Place(), { textContent: next.name }));
      },
      refresh() {},
      destroy: () => left.push(mark.name),
    };
  };
  try {
    halves["number"] = { draw: half };
    const pair = (...parts: unknown[]): never => ({ body: { mark: "number", name: "", parts } }) as never;
    const place = new Place();
    const drawn = drawPicture(place as never, pair({ mark: "number", name: "first", ill: "draw" }, { mark: "number", name: "second" }, { mark: "unknown" }), { theme: "light" } as never);
    assert.match(place.said, /^The mark 'number' could not be drawn: no inksecondThe mark 'unknown' could not be drawn: this page is older/);
    drawn.update(pair({ mark: "number", name: "first" }, { mark: "number", name: "second", ill: "update" }, { mark: "number", name: "third" }));
    assert.equal(place.said, "firstThe mark 'number' could not be drawn: no roomthird");
    drawn.destroy();
    assert.deepEqual([left, told.mock.callCount()], [["second", ""], 3]);
  } finally {
    Object.assign(halves, before);
    delete page.document;
  }
});

test("a pixel that is painted for something tells that, and others their numbers", () => {
  const pixels: NdArray = { dtype: "u1", shape: [2, 2, 3], data: Uint8Array.from({ length: 12 }, (_, i) => i) };
  const meant: NdArray = { dtype: "i4", shape: [2, 2], data: Int32Array.from([0, 1, -1, 1]) };
  const plain = { pixels, limits: null, meant: null, names: [] as readonly string[] } as Image;
  const painted = { ...plain, meant, names: ["sky", "a red car"] };
  assert.equal(pixelAt(plain, { x: 0.9, y: 0.1 }), "row 0, column 1: 3, 4, 5");
  assert.deepEqual([0.1, 0.9].map((x) => pixelAt(painted, { x, y: 0.1 })), ["row 0, column 0: sky", "row 0, column 1: a red car"]);
  assert.deepEqual([0.1, 0.9].map((x) => pixelAt(painted, { x, y: 0.9 })), ["row 1, column 0: nothing", "row 1, column 1: a red car"]);
});
