/** What can be done to the training: which commands stand where, and what the selection fills in. */

import type { ActEntry, CommandEntry, KnobValue, RunState } from "../protocol.ts";
import { keyText, kindOf, parseKey, type Key } from "./address.ts";

export type Filled = Record<string, KnobValue>;

/** Families in the order in which they are listed; a third party's own come last. */
export const FAMILIES: readonly (readonly [string, string])[] = [
  ["optimizer", "Optimizer"],
  ["weights", "Weights"],
  ["structure", "Structure"],
  ["data", "Data"],
  ["time", "Time"],
  ["rules", "Rules"],
  ["other", "Other"],
];

/** Commands that have controls of their own. */
const OWN = new Set(["pause", "resume", "step", "stop", "snapshot", "checkpoint", "go_back", "branch", "twin", "undo", "unrule"]);

const OPS = /^(op|query|key|value|pattern|residual):/;

export function listed(commands: readonly CommandEntry[]): CommandEntry[] {
  return commands.filter((command) => !OWN.has(command.name));
}

/** The commands of a family; those of a name that no family has are other ones. */
export function ofFamily(commands: readonly CommandEntry[], family: string): CommandEntry[] {
  const known = new Set(FAMILIES.map(([name]) => name));
  return commands.filter((command) => command.family === family || (family === "other" && !known.has(command.family)));
}

/** The commands of a family that do not stand above already, where what is selected fills in all that they cannot do without. */
export function others(commands: readonly CommandEntry[], chosen: readonly { command: CommandEntry; filled: Filled }[], frozen: readonly string[]): CommandEntry[] {
  const above = new Set(
    chosen.filter(({ command, filled }) => command.knobs.some((knob) => knob.name in filled && !knob.optional)).map(({ command }) => command.name),
  );
  return commands.filter((command) => !above.has(command.name) && (command.name !== "thaw" || frozen.length > 0));
}

/** Whether all words that a person seeks occur in a command's title, sentence or knobs. */
export function matches(command: CommandEntry, sought: string): boolean {
  const text = [command.title, command.sentence, command.family, ...command.knobs.map((knob) => knob.name)].join(" ").toLowerCase();
  return sought.toLowerCase().split(/\s+/).every((word) => text.includes(word));
}

/** Which knobs of a command the selection fills in; null where the command is not about what is selected. */
export function filledBy(command: CommandEntry, keys: readonly string[], frozen: readonly string[] = []): Filled | null {
  const newest = keys.findLast((key) => ["unit", "layer", "weight", "example", "class"].includes(kindOf(key)));
  const key = newest === undefined ? null : parseKey(newest);
  if (!newest || !key) return null;
  if (key.kind === "example" || key.kind === "class") return command.family === "data" ? ofExamples(keys, key) : null;
  // What an op answers has no weights of its own.
  if (OPS.test(key.name)) return null;
  const layer = key.name.replace(/#\d+$/, "");
  // A layer that learns is not thawed, and one that is frozen, by itself or with its block, not frozen again.
  const still = frozen.some((each) => layer === each || layer.startsWith(`${each}.`));
  if ((command.name === "thaw" && !still) || (command.name === "freeze" && still)) return null;
  const named = (of: Key): string => keyText({ ...of, name: of.name.replace(/#\d+$/, ""), kind: "unit", place: [] }).slice("unit:".length);
  if (command.name === "edit_weight") return key.kind === "layer" ? null : { key: `weight:${named(key)}` };
  if (key.kind === "weight") return null;
  const units = keys.map(parseKey).filter((each): each is Key => each?.kind === "unit" && !OPS.test(each.name)).map(named);
  if (key.kind === "unit" && command.knobs.some((knob) => knob.kind === "unit")) {
    const [unit, other] = [named(key), units.findLast((each) => each !== named(key))];
    if (!command.knobs.some((knob) => knob.name === "to")) return { unit };
    if (!other) return null;
    // What is chosen last is what changes.
    return command.name === "copy_unit" ? { unit: other, to: unit } : { unit, to: other };
  }
  const [held, later] = command.knobs.filter((knob) => knob.kind === "layer");
  if (!held || command.family === "rules") return null;
  if (later) {
    const chosen = keys.map(parseKey).filter((each) => each?.kind === "layer" && !OPS.test(each.name)).map((each) => each!.name.replace(/#\d+$/, ""));
    const other = chosen.findLast((each) => each !== layer);
    // Of two layers the one that was chosen last is the later one.
    return other ? { [held.name]: other, [later.name]: layer } : { [held.name]: layer };
  }
  const many = command.knobs.find((knob) => knob.kind === "units");
  if (!many || key.kind !== "unit") return { [held.name]: layer };
  const mine = units.filter((each) => each.slice(0, each.lastIndexOf("/")) === named(key).slice(0, named(key).lastIndexOf("/")));
  return { [held.name]: layer, [many.name]: mine.map((each) => each.slice(each.lastIndexOf("/") + 1)).join(",") };
}

function ofExamples(keys: readonly string[], key: Key): Filled {
  const examples = keys.filter((each) => kindOf(each) === "example").map((each) => each.slice("example:".length));
  return examples.length ? { examples: examples.join(","), of: "probe" } : { labelled: String(key.index[0]) };
}

/** What waits for a person's word: how a later undo is meant, or whether a script may be started again. */
export type Question = { about: "undo"; act: ActEntry } | { about: "consent"; name: string; knobs: Filled };

/** What has to be asked before a command is sent; null where it is clear. */
export function questionOf(state: RunState | null, name: string, knobs: Filled): Question | null {
  if (name === "undo") {
    const act = actOf(state, knobs["command"]);
    // Weights have learnt on since, or will have until this arrives: there are two pasts, one without the act and one before it.
    const goes = state !== null && (state.last > (act?.step ?? 0) || (state.alive && !state.paused));
    return act && act.state === "in force" && !act.plain && goes ? { about: "undo", act } : null;
  }
  if ((name === "branch" || name === "twin") && !knobs["consent"] && state?.way && !state.way.at_once && !state.way.refused)
    return { about: "consent", name, knobs };
  return null;
}

/** The act that an undo takes back: the named one, or the newest in force. */
function actOf(state: RunState | null, command: KnobValue | undefined): ActEntry | null {
  const acts = state?.acts ?? [];
  return (command ? acts.find((act) => act.command === Number(command)) : acts.findLast((act) => act.state === "in force")) ?? null;
}
