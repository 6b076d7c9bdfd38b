import assert from "node:assert/strict";
import { test } from "node:test";

import { inversions, layered, lifted, place, type LayoutEdge, type LayoutNode, type Rect } from "../src/marks/layered.ts";

const SPACING = { across: 18, down: 30, padding: 10, title: 20 };

function node(id: string, parent = "", width = 60, height = 30): LayoutNode {
  return { id, parent, width, height };
}

function overlap(a: Rect, b: Rect): boolean {
  return a.x < b.x + b.width - 0.01 && b.x < a.x + a.width - 0.01 && a.y < b.y + b.height - 0.01 && b.y < a.y + a.height - 0.01;
}

/** A residual net: blocks of conv, conv, add with a way round, each block nested, in a row. */
function residual(count: number): { nodes: LayoutNode[]; edges: LayoutEdge[] } {
  const nodes = [node("in")];
  const edges: LayoutEdge[] = [];
  let last = "in";
  for (let i = 0; i < count; i++) {
    nodes.push(node(`b${i}`), node(`b${i}.a`, `b${i}`, 90), node(`b${i}.c`, `b${i}`), node(`b${i}.add`, `b${i}`, 40));
    edges.push({ source: last, target: `b${i}.a` }, { source: `b${i}.a`, target: `b${i}.c` }, { source: `b${i}.c`, target: `b${i}.add` }, { source: last, target: `b${i}.add` });
    last = `b${i}.add`;
  }
  return { nodes, edges };
}

test("siblings never overlap, children lie inside their block, and what flows goes down", () => {
  const { nodes, edges } = residual(4);
  const { places, width, height } = layered(nodes, edges, SPACING);
  const at = (id: string): Rect => places.get(id) as Rect;
  for (const one of nodes) {
    for (const other of nodes) {
      if (one.id < other.id && one.parent === other.parent) assert.ok(!overlap(at(one.id), at(other.id)), `${one.id} and ${other.id}`);
    }
    const box = at(one.id);
    const outer = one.parent ? at(one.parent) : { x: 0, y: 0, width, height };
    assert.ok(box.x >= outer.x - 0.01 && box.x + box.width <= outer.x + outer.width + 0.01, one.id);
    assert.ok(box.y >= outer.y - 0.01 && box.y + box.height <= outer.y + outer.height + 0.01, one.id);
  }
  for (const { source, target } of edges) assert.ok(at(source).y < at(target).y, `${source} → ${target}`);
});

test("the main chain of a residual block hangs straight down", () => {
  const { nodes, edges } = residual(1);
  const { places } = layered(nodes, edges, SPACING);
  const centre = (id: string): number => (places.get(id)?.x ?? 0) + (places.get(id)?.width ?? 0) / 2;
  assert.ok(Math.abs(centre("b0.a") - centre("b0.c")) < 0.5);
  assert.ok(Math.abs(centre("b0.c") - centre("b0.add")) < 0.5);
});

test("a long edge passes beside what lies between", () => {
  const { nodes, edges } = residual(1);
  const { places, routes } = layered(nodes, edges, SPACING);
  const box = places.get("b0.c") as Rect;
  for (const route of routes) {
    for (const [x, y] of route.points) {
      const inside = x > box.x + 1 && x < box.x + box.width - 1 && y > box.y + 1 && y < box.y + box.height - 1;
      assert.ok(!inside, `route of edge ${route.edge} goes through the block`);
    }
  }
});

test("circles, loops, blocks without edges and an empty graph are laid out too", () => {
  const nodes = [node("a"), node("b"), node("c"), node("alone")];
  const edges = [{ source: "a", target: "b" }, { source: "b", target: "c" }, { source: "c", target: "a" }, { source: "b", target: "b" }];
  const { places } = layered(nodes, edges, SPACING);
  assert.equal(places.size, 4);
  assert.equal(layered([], [], SPACING).places.size, 0);
});

test("the same graph is laid out the same way each time", () => {
  const { nodes, edges } = residual(3);
  assert.deepEqual([...layered(nodes, edges, SPACING).places], [...layered(nodes, edges, SPACING).places]);
});

test("an edge into an open block goes through its door", () => {
  const parents = new Map([["a", ""], ["m", ""], ["m.x", "m"]]);
  const steps = lifted({ source: "a", target: "m.x" }, parents);
  assert.deepEqual(steps, [["m", "\u0000in", "m.x"], ["", "a", "m"]]);
  assert.deepEqual(lifted({ source: "m.x", target: "m" }, parents), []);
});

test("wishes are met as far as the order and the gaps allow", () => {
  const row = [{ x: 0, width: 10 }, { x: 0, width: 10 }, { x: 0, width: 10 }];
  place(row, [50, 50, 200], [1, 1, 1], 4);
  assert.deepEqual(row.map((item) => item.x), [43, 57, 200]);
});

test("pairs the wrong way round are counted as one by one", () => {
  for (let seed = 1; seed < 40; seed++) {
    const values = Array.from({ length: seed }, (_, i) => (i * i * 7 + seed * 13) % 11);
    let wanted = 0;
    for (let a = 0; a < values.length; a++) for (let b = a + 1; b < values.length; b++) if ((values[a] as number) > (values[b] as number)) wanted += 1;
    assert.equal(inversions(values), wanted, values.join(","));
  }
  assert.equal(inversions([]), 0);
});
