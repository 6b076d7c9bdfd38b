/** Runs that go on from one another, in the order of a tree: each after the one that it goes on from. */

import type { RunEntry } from "../protocol.ts";

export interface Branch {
  run: RunEntry;
  /** For each level above: whether more branches of that level follow below; the last is this run's own. */
  rails: boolean[];
}

export function tree(runs: readonly RunEntry[]): Branch[] {
  const names = new Set(runs.map((run) => run.name));
  const below = (parent: string | null): RunEntry[] =>
    runs.filter((run) => (run.parent !== undefined && names.has(run.parent) ? run.parent : null) === parent);
  const found: Branch[] = [];
  const seen = new Set<string>();
  const grow = (level: RunEntry[], rails: boolean[], top: boolean): void => {
    level.forEach((run, k) => {
      if (seen.has(run.name)) return;
      seen.add(run.name);
      const own = top ? [] : [...rails, k < level.length - 1];
      found.push({ run, rails: own });
      grow(below(run.name), own, false);
    });
  };
  grow(below(null), [], true);
  // A circle has no beginning; its runs are shown all the same.
  for (const run of runs) if (!seen.has(run.name)) grow([run], [], true);
  return found;
}
