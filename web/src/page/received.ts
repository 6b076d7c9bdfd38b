/** What the network receives of an input, as the answer's picture shows it: its own pixels, or its row of numbers. */

import type { Pixels } from "./edit.ts";
import { PATIENCE } from "../protocol.ts";
import { knobsFor, requestFor } from "./requests.ts";
import { page } from "./store.svelte.ts";
import type { Bars, Image, Node, Picture, Text } from "../types.ts";

/** Ask once for the answer to the input that is looked at, or to an example. */
function asked(example?: number): Promise<Picture> {
  const view = [...page.views.values()].find((one) => one.panel === "answer");
  const unfit = view ? page.unfit(view) : "no view shows what the network receives";
  if (!view || unfit) return Promise.reject(new Error(`The input cannot be edited: ${unfit}.`));
  const channel = page.channel();
  const here = page.situation;
  const there = example === undefined ? here : { ...here, selection: { a: [`example:${example}`], b: [] }, input: null };
  return new Promise<Picture>((resolve, reject) => {
    const late = setTimeout(() => reject(new Error("The input's pixels did not come; try again.")), PATIENCE.answer);
    channel.onpicture = (picture) => {
      clearTimeout(late);
      resolve(picture);
    };
    channel.onfailure = ({ message }) => {
      clearTimeout(late);
      reject(new Error(message));
    };
    channel.want(requestFor(view, knobsFor(view, {}, {}), there));
  }).finally(() => page.drop(channel));
}

function first<M extends Node["mark"]>(
  node: Node,
  mark: M,
  wanted: (one: Extract<Node, { mark: M }>) => boolean = () => true,
): Extract<Node, { mark: M }> | null {
  if (node.mark === mark && wanted(node as Extract<Node, { mark: M }>)) return node as Extract<Node, { mark: M }>;
  if (node.mark !== "group") return null;
  for (const child of node.children) {
    const found = first(child, mark, wanted);
    if (found) return found;
  }
  return null;
}

/** The pixels of what is looked at, or of an example. */
export async function fresh(example?: number): Promise<Pixels> {
  const shown: Image | null = first((await asked(example)).body, "image");
  const [height = 0, width = 0, channels = 1] = shown?.pixels.shape ?? [];
  if (!shown || shown.pixels.dtype !== "u1" || (channels !== 1 && channels !== 3))
    throw new Error("This input has no pixels that could be painted on.");
  return { width, height, channels, data: Float32Array.from(shown.pixels.data) };
}

/** The text of an example, or of its part by a name, as it would be typed. */
export async function textOf(example: number, name: string, separator: string): Promise<string> {
  const shown: Text | null = first((await asked(example)).body, "text", (one) => !name || one.title === name);
  return shown ? shown.tokens.join(separator).trimEnd() : "";
}

/** The numbers of an example of a table, in the order of its columns. */
export async function rowOf(example: number, columns: readonly string[]): Promise<number[] | null> {
  const shown: Bars | null = first((await asked(example)).body, "bars");
  if (!shown || shown.labels.length !== columns.length || shown.labels.some((label, i) => label !== columns[i])) return null;
  return Array.from(shown.values.data);
}
