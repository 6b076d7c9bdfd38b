/** A picture that is still being refined, laid over the last whole one part by part, so that nothing jumps meanwhile. */

import type { Group, Node, Picture } from "../types.ts";

export interface Overlaid {
  picture: Picture;
  /** The parts that are still the old ones: the numbers that lead to each from the outermost group. */
  stale: number[][];
}

/** The new picture's parts over the old one's, found by their titles; null where they do not belong together. */
export function overlaid(whole: Picture, next: Picture): Overlaid | null {
  const stale: number[][] = [];
  const body = laidOver(whole.body, next.body, [], stale);
  return body && stale.length ? { picture: { ...next, body }, stale } : null;
}

/**
 * Whether a picture on the way would only throw back what is on show: its points stand where those of the same map stood at an earlier step,
 * or, where the `same` was asked, stand already. Or what is on show is a whole answer to the `same` question, which is asked again at the
 * live end, and the first of a new one would take its place: boxes without their lines would come and go.
 */
export function thrownBack(shown: Picture, next: Picture, same: boolean): boolean {
  const [before, after] = [shown.places, next.places];
  if (next.final) return false;
  if (!after) return same && shown.final && overlaid(shown, next) === null;
  if (!before || before.of !== after.of) return false;
  if ((next.step ?? 0) < (shown.step ?? 0)) return false; // the slider was drawn back
  return after.step < before.step || (same && after.step === before.step);
}

function laidOver(old: Node, next: Node, path: number[], stale: number[][]): Node | null {
  if (old.mark !== "group" || next.mark !== "group") return null;
  const pairs = matched(old, next);
  if (!pairs) return null;
  const children = old.children.map((child, i): Node => {
    const fresh = pairs.get(i);
    if (fresh) return laidOver(child, fresh, [...path, i], stale) ?? fresh;
    stale.push([...path, i]);
    return child;
  });
  return { ...next, children };
}

/** For each old part the new one of its name; null when a new part has no old one, or names are not told apart. */
function matched(old: Group, next: Group): Map<number, Node> | null {
  if (next.children.length > old.children.length) return null;
  // "At 0.5" is the same part as "at 0.7", unless there are several of them.
  for (const name of [(node: Node) => nameOf(node).replace(/[\d.]+/g, "#"), nameOf]) {
    const [before, after] = [old.children.map(name), next.children.map(name)];
    if (new Set(before).size < before.length || new Set(after).size < after.length) continue;
    const found = new Map(after.map((one, i) => [before.indexOf(one), next.children[i]!]));
    return found.has(-1) ? null : found;
  }
  return null;
}

/** A part's kind and title; a group without a title is known by its first part. */
function nameOf(node: Node): string {
  if (node.title || node.mark !== "group") return `${node.mark} ${node.title}`;
  return `group of ${node.children[0] ? nameOf(node.children[0]) : ""}`;
}
