// A layered layout of a nested graph: what flows goes down, long edges bend round what lies between (after Sugiyama, Tagawa
// and Toda 1981). Each open block is laid out by itself; edges enter it through one door on top and leave by one below.

export interface Size {
  readonly width: number;
  readonly height: number;
}

export interface LayoutNode extends Size {
  readonly id: string;
  readonly parent: string;
}

export interface LayoutEdge {
  readonly source: string;
  readonly target: string;
}

export interface Rect extends Size {
  readonly x: number;
  readonly y: number;
}

export interface Route {
  readonly points: readonly (readonly [number, number])[];
  /** The first edge that runs here, by index. */
  readonly edge: number;
  /** Whether the route ends at a block rather than at a door on the way. */
  readonly arrow: boolean;
}

export interface Layout extends Size {
  readonly places: ReadonlyMap<string, Rect>;
  readonly routes: readonly Route[];
}

export interface Spacing {
  readonly across: number;
  readonly down: number;
  readonly padding: number;
  /** The height of an open block's title. */
  readonly title: number;
}

const IN = "\u0000in";
const OUT = "\u0000out";

/** Lay out all blocks; the size given for a block that has children is only its least width. */
export function layered(nodes: readonly LayoutNode[], edges: readonly LayoutEdge[], spacing: Spacing): Layout {
  const parents = new Map(nodes.map((node) => [node.id, node.parent]));
  const children = new Map<string, LayoutNode[]>();
  for (const node of nodes) children.set(node.parent, [...(children.get(node.parent) ?? []), node]);
  const inner = new Map<string, Map<string, number>>(); // container → "from\u0001to" → first edge
  edges.forEach((edge, i) => {
    for (const [container, from, to] of lifted(edge, parents)) {
      const here = inner.get(container) ?? new Map<string, number>();
      if (!here.has(`${from}\u0001${to}`)) here.set(`${from}\u0001${to}`, i);
      inner.set(container, here);
    }
  });

  function arrange(container: string): Layout & { doors: { in: number; out: number } } {
    const parts = children.get(container) ?? [];
    const nested = new Map(parts.filter((part) => children.has(part.id)).map((part) => [part.id, arrange(part.id)]));
    const least = new Map(parts.map((part) => [part.id, part]));
    const boxes: Box[] = parts.map((part) => {
      const inside = nested.get(part.id);
      if (!inside) return { id: part.id, width: part.width, height: part.height };
      return { id: part.id, width: Math.max(inside.width + 2 * spacing.padding, part.width), height: inside.height + 2 * spacing.padding + spacing.title };
    });
    const links = [...(inner.get(container) ?? new Map<string, number>())].map(([name, edge]) => {
      const [from = "", to = ""] = name.split("\u0001");
      return { from, to, edge };
    });
    for (const door of [IN, OUT]) if (links.some((link) => link.from === door || link.to === door)) boxes.push({ id: door, width: 1, height: 1 });
    const doorOf = (id: string, side: "in" | "out"): number | undefined => {
      const inside = nested.get(id);
      const box = least.get(id);
      if (!inside || !box) return undefined;
      const width = Math.max(inside.width + 2 * spacing.padding, box.width);
      return (width - inside.width) / 2 + inside.doors[side];
    };
    const flat = sugiyama(boxes, links, spacing, doorOf);
    const places = new Map<string, Rect>();
    const routes: Route[] = [...flat.routes];
    for (const [id, place] of flat.places) {
      if (id === IN || id === OUT) continue;
      places.set(id, place);
      const inside = nested.get(id);
      if (!inside) continue;
      const dx = place.x + (place.width - inside.width) / 2;
      const dy = place.y + spacing.padding + spacing.title;
      for (const [child, rect] of inside.places) places.set(child, { ...rect, x: rect.x + dx, y: rect.y + dy });
      for (const route of inside.routes) routes.push({ ...route, points: route.points.map(([x, y]) => [x + dx, y + dy] as const) });
      joinDoors(routes, inside, place, dx, dy);
    }
    const middle = flat.width / 2;
    const door = (name: string): number => (flat.places.get(name)?.x ?? middle) + (flat.places.has(name) ? 0.5 : 0);
    return { places, routes, width: flat.width, height: flat.height, doors: { in: door(IN), out: door(OUT) } };
  }

  const whole = arrange("");
  return { places: whole.places, routes: whole.routes, width: whole.width, height: whole.height };
}

/** Draw the flow from the block's own edge to its inner door, so that no line is broken at the title. */
function joinDoors(routes: Route[], inside: Layout & { doors: { in: number; out: number } }, place: Rect, dx: number, dy: number): void {
  const touches = (y: number, x: number): Route | undefined =>
    routes.find((route) => route.points.some(([px, py]) => Math.abs(px - x) < 1 && Math.abs(py - y) < 1));
  const enters = touches(dy + 0.5, dx + inside.doors.in);
  if (enters) routes.push({ points: [[dx + inside.doors.in, place.y], [dx + inside.doors.in, dy + 0.5]], edge: enters.edge, arrow: false });
  const foot = dy + inside.height - 0.5;
  const leaves = touches(foot, dx + inside.doors.out);
  if (leaves) routes.push({ points: [[dx + inside.doors.out, foot], [dx + inside.doors.out, place.y + place.height]], edge: leaves.edge, arrow: false });
}

/** An edge between any two blocks as edges between siblings: at their common container, and through doors below it. */
export function lifted(edge: LayoutEdge, parents: ReadonlyMap<string, string>): [string, string, string][] {
  const up = (id: string): string[] => {
    const line = [id];
    for (let at = parents.get(id) ?? ""; at; at = parents.get(at) ?? "") line.push(at);
    return [...line, ""];
  };
  const [from, to] = [up(edge.source), up(edge.target)];
  const common = from.find((id) => to.includes(id)) ?? "";
  const [below, above] = [from.slice(0, from.indexOf(common)), to.slice(0, to.indexOf(common))];
  const found: [string, string, string][] = [];
  if (!below.length || !above.length) return found; // a block to its own container: nothing flows on the screen
  below.slice(0, -1).forEach((id, i) => found.push([below[i + 1] ?? "", id, OUT]));
  above.slice(0, -1).forEach((id, i) => found.push([above[i + 1] ?? "", IN, id]));
  found.push([common, below.at(-1) ?? "", above.at(-1) ?? ""]);
  return found;
}

interface Box extends Size {
  readonly id: string;
}

interface Link {
  readonly from: string;
  readonly to: string;
  readonly edge: number;
}

interface Item extends Size {
  readonly id: string;
  rank: number;
  x: number; // of the centre
  readonly before: Item[];
  readonly after: Item[];
  readonly dummy: boolean;
  /** Where edges arrive and leave, from the centre. */
  readonly inAt: number;
  readonly outAt: number;
}

function sugiyama(boxes: readonly Box[], links: readonly Link[], spacing: Spacing, doorOf: (id: string, side: "in" | "out") => number | undefined): Layout {
  const ranks = rank(boxes, links);
  const items = new Map<string, Item>(boxes.map((box) => {
    const [inAt, outAt] = [doorOf(box.id, "in"), doorOf(box.id, "out")].map((door) => (door === undefined ? 0 : door - box.width / 2));
    return [box.id, { ...box, rank: ranks.get(box.id) ?? 0, x: 0, before: [], after: [], dummy: false, inAt: inAt ?? 0, outAt: outAt ?? 0 }];
  }));
  const chains = links.map((link) => chain(link, items));
  const rows: Item[][] = [];
  for (const item of items.values()) (rows[item.rank] ??= []).push(item);
  order(rows);
  straighten(rows, spacing.across);
  const left = Math.min(...rows.flat().map((item) => item.x - item.width / 2));
  const right = Math.max(left + 1, ...rows.flat().map((item) => item.x + item.width / 2));
  const tops: number[] = [];
  const heights: number[] = [];
  let y = 0;
  rows.forEach((row, i) => {
    const height = Math.max(...row.map((item) => item.height));
    const doors = row.every((item) => item.id === IN || item.id === OUT);
    if (i > 0 && doors) y -= spacing.down / 2;
    tops[i] = y;
    heights[i] = height;
    y += height + (doors ? spacing.down / 2 : spacing.down);
  });
  const last = rows.length - 1;
  const places = new Map<string, Rect>();
  for (const item of items.values()) {
    if (item.dummy) continue;
    const top = (tops[item.rank] ?? 0) + ((heights[item.rank] ?? 0) - item.height) / 2;
    places.set(item.id, { x: item.x - item.width / 2 - left, y: top, width: item.width, height: item.height });
  }
  const routes = chains.map(({ link, items: way, turned }) => {
    const points: [number, number][] = [];
    way.forEach((item, i) => {
      const place = places.get(item.id);
      if (!place) {
        points.push([item.x - left, tops[item.rank] ?? 0], [item.x - left, (tops[item.rank] ?? 0) + (heights[item.rank] ?? 0)]);
      } else if (item.id === IN || item.id === OUT) points.push([place.x + 0.5, place.y + 0.5]);
      else if (i === 0) points.push([place.x + (doorOf(item.id, "out") ?? place.width / 2), place.y + place.height]);
      else points.push([place.x + (doorOf(item.id, "in") ?? place.width / 2), place.y]);
    });
    return { points: turned ? points.reverse() : points, edge: link.edge, arrow: link.to !== OUT && doorOf(link.to, "in") === undefined };
  });
  return { places, routes, width: right - left, height: Math.max(0, (tops[last] ?? 0) + (heights[last] ?? 0)) };
}

/** The rank of each box: below all that flows into it. Edges that close a circle are left out of this. */
export function rank(boxes: readonly Box[], links: readonly Link[]): Map<string, number> {
  const after = new Map<string, string[]>();
  for (const { from, to } of links) after.set(from, [...(after.get(from) ?? []), to]);
  const state = new Map<string, "open" | "done">();
  const sorted: string[] = [];
  const back = new Set<string>();
  const visit = (start: string): void => {
    const stack: { id: string; next: number }[] = [{ id: start, next: 0 }];
    state.set(start, "open");
    while (stack.length) {
      const top = stack.at(-1) as { id: string; next: number };
      const to = after.get(top.id)?.[top.next++];
      if (to === undefined) {
        state.set(top.id, "done");
        sorted.push(top.id);
        stack.pop();
      } else if (state.get(to) === "open") back.add(`${top.id}\u0001${to}`);
      else if (!state.has(to)) {
        state.set(to, "open");
        stack.push({ id: to, next: 0 });
      }
    }
  };
  if (boxes.some((box) => box.id === IN)) visit(IN);
  for (const box of boxes) if (!state.has(box.id)) visit(box.id);
  const ranks = new Map(boxes.map((box) => [box.id, 0]));
  const forward = links.filter(({ from, to }) => from !== to && !back.has(`${from}\u0001${to}`));
  const leaving = new Map<string, Link[]>();
  for (const link of forward) leaving.set(link.from, [...(leaving.get(link.from) ?? []), link]);
  for (const id of sorted.reverse()) {
    for (const { to } of leaving.get(id) ?? []) ranks.set(to, Math.max(ranks.get(to) ?? 0, (ranks.get(id) ?? 0) + 1));
  }
  // What nothing flows into stands right above what it flows to (constants, second inputs).
  const entered = new Set(forward.map((link) => link.to));
  for (const box of boxes) {
    const targets = (leaving.get(box.id) ?? []).map((link) => ranks.get(link.to) ?? 0);
    if (!entered.has(box.id) && box.id !== IN && targets.length) ranks.set(box.id, Math.max(0, Math.min(...targets) - 1));
  }
  const lowest = Math.max(0, ...ranks.values());
  if (ranks.has(OUT)) ranks.set(OUT, Math.max(lowest, ...boxes.filter((box) => box.id !== OUT).map((box) => (ranks.get(box.id) ?? 0) + 1)));
  return ranks;
}

/** The items that an edge passes, with a dummy in each rank between; edges against the flow are turned. */
function chain(link: Link, items: Map<string, Item>): { link: Link; items: Item[]; turned: boolean } {
  const [from, to] = [items.get(link.from) as Item, items.get(link.to) as Item];
  const turned = from.rank >= to.rank;
  const [high, low] = turned ? [to, from] : [from, to];
  const way = [high];
  for (let at = high.rank + 1; at < low.rank; at++) {
    const id = `\u0000${link.from}\u0001${link.to}\u0001${at}`;
    const dummy: Item = { id, width: 14, height: 1, rank: at, x: 0, before: [], after: [], dummy: true, inAt: 0, outAt: 0 };
    items.set(id, dummy);
    way.push(dummy);
  }
  if (low !== high) way.push(low);
  for (let i = 1; i < way.length; i++) {
    const [before, here] = [way[i - 1] as Item, way[i] as Item];
    before.after.push(here);
    here.before.push(before);
  }
  return { link, items: way, turned };
}

/** Order each rank so that few edges cross: sweeps of barycentres, keeping the best. */
function order(rows: Item[][]): void {
  let best = rows.map((row) => [...row]);
  let least = crossings(rows);
  for (let sweep = 0; sweep < 12 && least > 0; sweep++) {
    const down = sweep % 2 === 0;
    const indices = rows.map((_, i) => (down ? i : rows.length - 1 - i)).slice(1);
    for (const i of indices) {
      const row = rows[i] as Item[];
      const beside = new Map((rows[down ? i - 1 : i + 1] ?? []).map((item, at) => [item, at]));
      const wish = new Map(row.map((item, at) => {
        const near = (down ? item.before : item.after).map((other) => beside.get(other) ?? 0);
        return [item, near.length ? near.reduce((a, b) => a + b, 0) / near.length : at];
      }));
      row.sort((a, b) => (wish.get(a) ?? 0) - (wish.get(b) ?? 0));
    }
    const now = crossings(rows);
    if (now < least) [least, best] = [now, rows.map((row) => [...row])];
  }
  best.forEach((row, i) => (rows[i] = row));
}

function crossings(rows: readonly Item[][]): number {
  let sum = 0;
  for (let i = 1; i < rows.length; i++) {
    const places = new Map((rows[i - 1] ?? []).map((item, at) => [item, at]));
    sum += inversions((rows[i] ?? []).flatMap((item) => item.before.map((other) => places.get(other) ?? 0).sort((a, b) => a - b)));
  }
  return sum;
}

/** How many pairs stand the wrong way round; counted in a tree of sums, as dense graphs have many edges between two ranks. */
export function inversions(values: readonly number[]): number {
  const size = Math.max(0, ...values) + 1;
  const tree = new Uint32Array(size + 1);
  let found = 0;
  values.forEach((value, seen) => {
    let notLarger = 0;
    for (let at = value + 1; at > 0; at -= at & -at) notLarger += tree[at] as number;
    found += seen - notLarger;
    for (let at = value + 1; at <= size; at += at & -at) tree[at] = (tree[at] as number) + 1;
  });
  return found;
}

/** Give each item a place across, near to what it is joined with, without overlaps. */
function straighten(rows: Item[][], gap: number): void {
  for (const row of rows) place(row, row.map(() => 0), row.map(() => 1), gap);
  for (let sweep = 0; sweep < 16; sweep++) {
    const down = sweep % 2 === 0;
    for (const row of down ? rows : [...rows].reverse()) {
      place(row, row.map((item) => mean(wishes(item, down)) ?? item.x), row.map(() => 1), gap);
    }
  }
  // The main chain hangs straight down; what only passes by gives way to it, and is then pulled straight itself.
  for (const row of rows) {
    place(row, row.map((item) => mean(main(item)) ?? item.x), row.map((item) => (item.dummy ? 1 : 100)), gap);
  }
  for (const down of [false, true]) {
    for (const row of down ? rows : [...rows].reverse()) {
      const wanted = row.map((item) => (item.dummy ? mean(passing(item, down)) ?? item.x : item.x));
      place(row, wanted, row.map((item) => (item.dummy ? 1 : 1e6)), gap);
    }
  }
}

function wishes(item: Item, down: boolean): number[] {
  return down ? item.before.map((other) => other.x + other.outAt - item.inAt) : item.after.map((other) => other.x + other.inAt - item.outAt);
}

/** Where the blocks above would have an item; edges that only pass by count where there is nothing else. */
function main(item: Item): number[] {
  const real = item.before.filter((other) => !other.dummy);
  return (real.length ? real : item.before).map((other) => other.x + other.outAt - item.inAt);
}

function passing(item: Item, down: boolean): number[] {
  return (down ? item.before : item.after).filter((other) => other.dummy).map((other) => other.x);
}

function mean(values: readonly number[]): number | undefined {
  return values.length ? values.reduce((a, b) => a + b, 0) / values.length : undefined;
}

/** The places nearest to the wishes that keep the order and the gaps: isotonic regression by pooling neighbours. */
export function place(row: { x: number; width: number }[], wishes: readonly number[], weights: readonly number[], gap: number): void {
  const offsets: number[] = [];
  row.forEach((item, i) => {
    const before = row[i - 1];
    offsets.push(before ? (offsets[i - 1] ?? 0) + before.width / 2 + item.width / 2 + gap : 0);
  });
  const pools: { sum: number; weight: number; count: number }[] = [];
  row.forEach((_, i) => {
    const weight = weights[i] ?? 1;
    pools.push({ sum: ((wishes[i] ?? 0) - (offsets[i] ?? 0)) * weight, weight, count: 1 });
    while (pools.length > 1) {
      const [a, b] = [pools.at(-2), pools.at(-1)];
      if (!a || !b || a.sum / a.weight <= b.sum / b.weight) break;
      pools.splice(-2, 2, { sum: a.sum + b.sum, weight: a.weight + b.weight, count: a.count + b.count });
    }
  });
  let i = 0;
  for (const pool of pools) {
    for (let n = 0; n < pool.count; n++, i++) (row[i] as { x: number }).x = pool.sum / pool.weight + (offsets[i] ?? 0);
  }
}
