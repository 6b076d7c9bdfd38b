// A picture with its words round it, where no page brings them: in notebooks and exported files.

import { drawPicture, type Context, type Drawn } from "./marks/index.ts";
import { make, setText } from "./marks/elements.ts";
import { format, withUnit } from "./marks/format.ts";
import type { Picture, Provenance } from "./types.ts";

/** Draw a picture with title, step, caption, checks and how it was made. */
export function drawFramed(element: HTMLElement, first: Picture, context: Context): Drawn<Picture> {
  element.classList.add("diorama", "framed");
  const top = make("div", "frame-head");
  const title = make("span", "frame-title");
  const step = make("span", "frame-step");
  const body = make("div", "frame-body");
  const caption = make("p", "frame-caption");
  const note = make("p", "frame-note");
  const checks = make("p", "frame-checks");
  const made = make("details", "frame-made");
  top.append(title, step);
  element.replaceChildren(top, body, caption, note, checks, made);
  const drawn = drawPicture(body, first, context);

  function words(picture: Picture): void {
    element.dataset["theme"] = context.theme;
    setText(title, picture.title);
    setText(step, picture.step === null ? "" : `step ${format(picture.step)}`);
    setText(caption, picture.caption);
    setText(note, picture.note);
    setText(checks, picture.checks.map((check) => `${check.name} ${withUnit(check.value, check.unit)}${check.sentence ? `: ${check.sentence}` : ""}`).join(" · "));
    for (const part of [caption, note, checks]) part.hidden = !part.textContent;
    made.hidden = !picture.provenance;
    const open = made.open;
    made.replaceChildren(make("summary", "", "How is this made?"), ...(picture.provenance ? lines(picture.provenance) : []));
    made.open = open;
  }

  words(first);
  return {
    update(picture) {
      words(picture);
      drawn.update(picture);
    },
    refresh() {
      element.dataset["theme"] = context.theme;
      drawn.refresh();
    },
    destroy() {
      drawn.destroy();
      element.replaceChildren();
    },
  };
}

function lines(made: Provenance): HTMLElement[] {
  const knobs = Object.entries(made.knobs).filter(([, value]) => value !== null).map(([name, value]) => `${name} ${String(value)}`);
  const facts: [string, string][] = [
    ["method", made.method], ["", made.sentence], ["knobs", knobs.join(", ")], ["run", made.run], ["selection", made.selection],
    ["seed", made.seed === null ? "" : String(made.seed)], ["mode", made.mode], ["edits", made.edits.join("; ")], ["model", made.model], ["source", made.source],
    ["guessed", made.guessed.join(" ")], ["versions", Object.entries(made.versions).map(([name, version]) => `${name} ${version}`).join(", ")],
  ];
  return facts.filter(([, value]) => value).map(([name, value]) => make("div", "frame-fact", name ? `${name}: ${value}` : value));
}
