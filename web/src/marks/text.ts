// Tokens coloured by a value, with what the model expected in their place below each.

import { css, wantsDarkText, type Theme } from "../colour.ts";
import type { Text } from "../types.ts";
import { ensure, make, setText } from "./elements.ts";
import { percent, withUnit } from "./format.ts";
import type { Draw } from "./half.ts";
import { head } from "./head.ts";
import { keyed, living, type Part } from "./keyed.ts";

interface Token extends HTMLDivElement {
  word: HTMLElement;
  others: HTMLElement[];
}

export const draw: Draw<Text> = (element, first, context) => {
  const frame = head(element, "text", context);
  const flow = make("div", "text");
  flow.setAttribute("role", "listbox");
  frame.body.append(flow);
  const items: Token[] = [];
  const words: HTMLElement[] = [];
  let grouped = "";
  const keys = keyed(flow, context, { runs: true });
  let mark = first;

  function paint(): void {
    const theme = context.theme;
    frame.update(mark, mark.limits, theme);
    flow.classList.toggle("characters", mark.characters);
    flow.classList.toggle("with-others", mark.alternatives.length > 0);
    flow.setAttribute("aria-label", `${mark.title || "text"}: ${mark.tokens.slice(0, 200).join(mark.characters ? "" : " ")}`);
    ensure(flow, items, mark.tokens.length, makeToken);
    group();
    items.forEach((item, i) => fill(item, mark, i, theme));
    keys.set(items, items.map((_, i) => part(mark, i)));
  }

  /** Lines break between words: the tokens of one word stand in one span that does not break. */
  function group(): void {
    const starts = wordStarts(mark.tokens, mark.characters);
    const now = `${mark.tokens.length} ${starts.join()}`;
    if (now === grouped) return;
    grouped = now;
    // A part that is taken out and put in again has lost the keyboard.
    const reader = items.find((item) => item === document.activeElement);
    ensure(flow, words, starts.length, () => make("span", "word"));
    starts.forEach((start, k) => words[k]?.replaceChildren(...items.slice(start, starts[k + 1] ?? items.length)));
    flow.replaceChildren(...words);
    reader?.focus({ preventScroll: true });
  }

  return living(element, context, keys, paint, (next) => {
    mark = next;
  });
};

/** Of more tokens no line may be wide enough: such a word, letters that no blank parts, breaks anywhere. */
const LONGEST = 24;
/** White space, or the sign that stands for it where a place has to be seen. */
const BLANK = "[\\s␣↵⇥]";
const BLANK_FIRST = new RegExp(`^${BLANK}`);
const BLANK_LAST = new RegExp(`${BLANK}$`);

/** The places where a new word starts: behind white space, before a token that brings its own, at every token that is a word. */
export function wordStarts(tokens: readonly string[], characters: boolean): number[] {
  const spaced = characters || tokens.some((token) => /^\s+\S/.test(token));
  const starts = [...tokens.keys()].filter((i) => {
    const [last = "", token = ""] = [tokens[i - 1], tokens[i]];
    if (i === 0) return true;
    if (!spaced) return !token.startsWith("##");
    return BLANK_FIRST.test(token) ? !characters || /[\n↵]$/.test(last) : BLANK_LAST.test(last);
  });
  return starts.flatMap((start, k) => {
    const count = (starts[k + 1] ?? tokens.length) - start;
    return count > LONGEST ? Array.from({ length: count }, (_, more) => start + more) : [start];
  });
}

function makeToken(): Token {
  const item = make("div", "token") as Token;
  item.word = make("span", "token-word");
  item.others = [];
  item.append(item.word);
  return item;
}

function fill(item: Token, mark: Text, i: number, theme: Theme): void {
  const token = mark.tokens[i] ?? "";
  // A blank in a text is a blank; alone among guesses, or under the pointer, it gets its sign.
  setText(item.word, token === " " && mark.characters ? "\u00a0" : visible(token, mark.characters));
  item.classList.toggle("ends-line", token.endsWith("\n") && !mark.alternatives.length);
  const value = mark.values?.data[i];
  item.word.classList.toggle("nan", value !== undefined && Number.isNaN(value));
  const struck = Boolean(mark.struck?.data[i]);
  item.word.classList.toggle("struck", struck);
  if (struck || value === undefined || !mark.limits || Number.isNaN(value)) {
    item.word.removeAttribute("style");
  } else {
    const colour = css(value, mark.limits, theme);
    item.word.style.backgroundColor = colour;
    item.word.style.color = wantsDarkText(colour) ? "#1c1d20" : "#ffffff";
  }
  const others = mark.alternatives[i] ?? [];
  ensure(item, item.others, others.length, () => make("span", "other"));
  item.others.forEach((other, at) => {
    const { text, probability } = others[at] ?? { text: "", probability: 0 };
    setText(other, visible(text, mark.characters));
    other.style.setProperty("--share", `${Math.round(Math.max(0, Math.min(1, probability)) * 100)}%`);
    other.classList.toggle("right", text === token);
    other.classList.toggle("sure", probability > 0.55);
  });
}

/** White space that can be seen. */
export function visible(token: string, single: boolean): string {
  if (!single) return token.replaceAll("\n", "⏎").replaceAll("\t", "⇥") || "∅";
  return { "\n": "⏎", "\t": "⇥", " ": "·", "\r": "␍", "": "∅" }[token] ?? token;
}

function part(mark: Text, i: number): Part {
  const value = mark.values?.data[i];
  const others = mark.alternatives[i] ?? [];
  return {
    keys: mark.keys[i] ? [mark.keys[i] ?? ""] : [],
    describe: () => [
      `“${visible(mark.tokens[i] ?? "", mark.characters)}” · ${i}`,
      mark.struck?.data[i] ? "struck out" : value === undefined ? "" : withUnit(value, mark.limits?.unit ?? ""),
      ...(others.length ? ["expected here:"] : []),
      ...others.map((other) => `${visible(other.text, mark.characters)}  ${percent(other.probability)}`),
    ],
  };
}
