/** Inputs of several parts, such as a picture and a question: which part a tool makes, and what a person made of each. */

import type { InputKind, RawInput } from "../protocol.ts";

/** What a tool makes: an input, or a part of one. */
export type Part = Exclude<RawInput, { kind: "parts" }>;

export interface PartKind {
  /** Empty where the network takes one input. */
  name: string;
  kind: InputKind;
}

/** Every part of what the network takes; an input of one kind is one part. */
export function partsOf(kind: InputKind): PartKind[] {
  return kind.parts ? Object.entries(kind.parts).map(([name, one]) => ({ name, kind: one })) : [{ name: "", kind }];
}

/** The first part of a kind: a picture, a text. */
export function partOf(kind: InputKind, word: string): PartKind | undefined {
  return partsOf(kind).find((part) => part.kind.kind === word);
}

/** What was made of a part; null where it is still the example's. */
export function madeOf(input: RawInput | null, name: string): Part | null {
  if (input?.kind === "parts") return Object.hasOwn(input.parts, name) ? input.parts[name]! : null;
  return name === "" ? input : null;
}

/** The input with a part made, or given back; the parts that nobody made are those of an example. */
export function withPart(input: RawInput | null, name: string, part: Part | null, example: number): RawInput | null {
  if (name === "") return part;
  const before = input?.kind === "parts" ? input : { kind: "parts" as const, parts: {}, example };
  const others = Object.entries(before.parts).filter(([other]) => other !== name);
  const parts = Object.fromEntries(part ? [...others, [name, part]] : others) as Record<string, Part>;
  return Object.keys(parts).length ? { ...before, parts } : null;
}
