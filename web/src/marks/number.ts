// A number or a finding: a dot that says how it stands, the name, the value, a note, and what can be done.

import type { Number as NumberMark } from "../types.ts";
import { make, setText } from "./elements.ts";
import { withUnit } from "./format.ts";
import type { Draw } from "./half.ts";
import { head } from "./head.ts";
import { keyed } from "./keyed.ts";

const TONES = { plain: "", good: "good: ", warn: "warning: ", bad: "problem: " } as const;

/** A number as the page places it: where its place is low its note is folded away, behind its title, until someone asks for it. */
export type Folding = NumberMark & { readonly folds?: boolean };

export const draw: Draw<Folding> = (element, first, context) => {
  const frame = head(element, "number", context);
  const item = make("div", "number");
  const dot = make("span", "dot");
  const label = make("span", "number-label");
  const value = make("span", "number-value");
  const note = make("span", "number-note");
  const actions = make("span", "number-actions");
  const words = make("div", "number-words");
  const line = make("div", "number-line");
  const fold = make("button", "link number-fold");
  fold.type = "button";
  line.append(label, value, fold);
  note.append(actions);
  words.append(line, note);
  item.append(dot, words);
  frame.body.append(item);
  const noteText = document.createTextNode("");
  note.prepend(noteText);
  const keys = keyed(frame.body, context, { role: "button" });
  let drawnActions = "";
  let folds = false;
  /** What someone asked for, of this finding: it stays as the training goes on. */
  let asked: boolean | null = null;

  function unfold(open: boolean): void {
    asked = open;
    laid();
  }

  function laid(): void {
    const open = asked ?? false;
    fold.hidden = !folds;
    setText(fold, open ? "less" : "more");
    fold.setAttribute("aria-expanded", String(open));
    item.dataset["folded"] = String(folds && !open);
  }

  fold.addEventListener("click", () => unfold(!(asked ?? false)));
  item.addEventListener("click", (event) => {
    if (folds && !(event.target as HTMLElement).closest("button")) unfold(true);
  });

  function update(mark: Folding): void {
    if (label.textContent !== mark.label) asked = null;
    folds = Boolean(mark.folds);
    fold.setAttribute("aria-label", `Read all of it: ${mark.label}`);
    laid();
    frame.update(mark, null, context.theme);
    item.dataset["tone"] = mark.tone;
    setText(label, mark.label);
    setText(value, mark.value === null ? "" : withUnit(mark.value, mark.unit));
    const space = mark.note && mark.actions.length ? " " : "";
    noteText.data = mark.note + space;
    note.hidden = !mark.note && !mark.actions.length;
    const wanted = JSON.stringify(mark.actions);
    if (wanted !== drawnActions) {
      drawnActions = wanted;
      actions.replaceChildren(...mark.actions.map((action) => {
        const button = make("button", "link", action.label);
        button.type = "button";
        button.addEventListener("click", () => context.act(action.command, action.knobs));
        return button;
      }));
    }
    const described = { keys: mark.key ? [mark.key] : [], describe: () => [TONES[mark.tone] + mark.label, value.textContent ?? "", mark.note] };
    keys.set(mark.key ? [item] : [], mark.key ? [described] : []);
  }

  update(first);
  return {
    update,
    refresh: () => keys.refresh(),
    destroy() {
      keys.destroy();
      element.replaceChildren();
    },
  };
};
