/** What the catalogue lists, and how it is ordered. */

import { knobText } from "./requests.ts";
import type { Hello, Method, View } from "../protocol.ts";

export type Order = "taxonomy" | "paper" | "name";

export const ORDERS: readonly (readonly [Order, string])[] = [
  ["taxonomy", "by what they show"],
  ["paper", "by paper"],
  ["name", "by name"],
];

export interface Entry {
  id: string;
  title: string;
  sentence: string;
  question: string;
  family: string;
  papers: string[];
  rows: string[];
  demo: string;
  /** The view that shows it, with these knobs. */
  view: View | null;
  knobs: Record<string, string>;
}

export interface Shelf {
  title: string;
  sentence: string;
  entries: Entry[];
}

const FAMILIES: readonly (readonly [string, string, string])[] = [
  ["features", "Features", "What units have learned to respond to, and which parts of an input an answer rests on."],
  ["relationships", "Relationships", "How examples and neurons relate to one another in the network's own representation."],
  ["process", "Process", "The structure of the network, its training, and what happens when it is touched."],
];

export function entries(hello: Hello | null): Entry[] {
  if (!hello) return [];
  const views = hello.views.map((view) => entryOf(view));
  const methods = hello.methods.map((method) => methodEntry(method, hello.views));
  return [...views, ...methods];
}

function entryOf(view: View): Entry {
  const knobs: Record<string, string> = {};
  for (const [name, value] of Object.entries(view.example)) knobs[name] = knobText(value);
  const { title, sentence, question, family, papers, rows, demo } = view;
  return { id: `view-${view.name}`, title, sentence, question, family, papers, rows, demo, view, knobs };
}

/** A method is opened in the view that it names, whose knob `method` chooses it. */
function methodEntry(method: Method, views: readonly View[]): Entry {
  const view = views.find((other) => other.name === method.view && other.knobs.some((knob) => knob.name === "method"));
  return {
    id: `method-${method.name}`,
    title: method.title,
    sentence: method.sentence,
    question: "",
    family: view?.family ?? "features",
    papers: method.papers,
    rows: method.rows,
    demo: method.demo ?? view?.demo ?? "",
    view: view ?? null,
    knobs: view ? { method: method.name } : {},
  };
}

/** Whether every word is found somewhere in the entry. */
export function matches(entry: Entry, sought: string): boolean {
  const where = [entry.id, entry.title, entry.sentence, entry.question, entry.family, ...entry.papers, ...entry.rows]
    .join(" ")
    .toLowerCase();
  return sought.toLowerCase().split(/\s+/).every((word) => where.includes(word));
}

export function groups(found: readonly Entry[], order: Order): Shelf[] {
  if (order === "taxonomy")
    return FAMILIES.map(([family, title, sentence]) => ({
      title,
      sentence,
      entries: found.filter((entry) => entry.family === family),
    })).filter((shelf) => shelf.entries.length);
  if (order === "name") {
    const entries = [...found].sort((a, b) => a.title.localeCompare(b.title));
    return entries.length ? [{ title: "A to Z", sentence: "", entries }] : [];
  }
  const shelves = new Map<string, Entry[]>();
  for (const entry of found) {
    for (const name of entry.papers.length ? entry.papers : ["Of no paper"]) shelves.set(name, [...(shelves.get(name) ?? []), entry]);
  }
  return [...shelves]
    .sort(([a], [b]) => (a === "Of no paper" ? 1 : b === "Of no paper" ? -1 : a.localeCompare(b, "en", { numeric: true })))
    .map(([title, entries]) => ({ title, sentence: "", entries }));
}
