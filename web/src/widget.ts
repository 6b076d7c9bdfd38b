// The notebook widget: shows a picture that the kernel sends, and tells the kernel what was chosen, set or asked for.
//
// Traits: `picture` (the bytes of a picture), `selection` (a list of keys, both ways), `progress` (a line of text while work goes
// on), `error` (a line of text). Messages to the kernel: {do: "set", knob, value}, {do: "act", command, knobs}, {do: "step", step}.

import { drawFramed } from "./frame.ts";
import { make, setText } from "./marks/elements.ts";
import type { Drawn } from "./marks/index.ts";
import { OwnContext, followTheme } from "./own.ts";
import { decode } from "./picture.ts";
import { adoptStyles } from "./styles.ts";
import type { Picture } from "./types.ts";

/** The part of anywidget's model that is used. */
interface Model {
  get(name: string): unknown;
  set(name: string, value: unknown): void;
  save_changes(): void;
  send(message: unknown): void;
  on(event: string, call: () => void): void;
  off(event: string, call: () => void): void;
}

function render({ model, el }: { model: Model; el: HTMLElement }): () => void {
  const place = make("div");
  const line = make("div", "widget-line diorama");
  el.append(place, line);
  adoptStyles(el);
  let drawn: Drawn<Picture> | null = null;
  const context = new OwnContext(themeOf(el, (theme) => {
    context.theme = theme;
    drawn?.refresh();
  }), {
    selected(keys) {
      model.set("selection", [...keys]);
      model.save_changes();
    },
    set: (knob, value) => model.send({ do: "set", knob, value }),
    act: (command, knobs) => model.send({ do: "act", command, knobs }),
    step: (step) => model.send({ do: "step", step }),
  });
  context.changed = () => drawn?.refresh();

  function show(): void {
    const bytes = model.get("picture") as DataView | null;
    if (!bytes?.byteLength) return;
    const picture = decode(bytes.buffer as ArrayBuffer, bytes.byteOffset);
    if (drawn) drawn.update(picture);
    else drawn = drawFramed(place, picture, context);
  }

  function choose(): void {
    context.selection = (model.get("selection") as string[] | null) ?? [];
    drawn?.refresh();
  }

  function say(): void {
    const error = String(model.get("error") ?? "");
    setText(line, error || String(model.get("progress") ?? ""));
    line.hidden = !line.textContent;
    line.classList.toggle("widget-error", Boolean(error));
  }

  const told = { "change:picture": show, "change:selection": choose, "change:progress": say, "change:error": say };
  for (const [event, call] of Object.entries(told)) model.on(event, call);
  choose();
  show();
  say();
  return () => {
    for (const [event, call] of Object.entries(told)) model.off(event, call);
    drawn?.destroy();
  };
}

/** Light or dark as the notebook is: by the brightness of what lies behind the widget, else as the system is. */
function themeOf(element: HTMLElement, changed: (theme: "light" | "dark") => void): "light" | "dark" {
  const system = followTheme((theme) => changed(behind(element) ?? theme));
  return behind(element) ?? system;
}

function behind(element: HTMLElement): "light" | "dark" | null {
  for (let node: Element | null = element; node; node = node.parentElement ?? hostOf(node)) {
    const [r, g, b, alpha] = painted(getComputedStyle(node).backgroundColor);
    if (alpha < 128) continue;
    return 0.2126 * r + 0.7152 * g + 0.0722 * b > 128 ? "light" : "dark";
  }
  return null;
}

/** A CSS colour of any notation (a notebook's may be oklch) as four bytes: painted, and read back. */
function painted(colour: string): [number, number, number, number] {
  const pen = make("canvas").getContext("2d");
  if (!pen || !colour) return [0, 0, 0, 0]; // outside the document there is no colour
  pen.fillStyle = colour;
  pen.fillRect(0, 0, 1, 1);
  const [r = 0, g = 0, b = 0, alpha = 0] = pen.getImageData(0, 0, 1, 1).data;
  return [r, g, b, alpha];
}

function hostOf(node: Element): Element | null {
  const root = node.getRootNode();
  return root instanceof ShadowRoot ? root.host : null;
}

export default { render };
