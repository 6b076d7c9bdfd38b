// The script of an exported file: it draws every picture that the file carries, and they still hover and select.
//
// A picture lies in the file as base64 in `<script type="application/x-diorama">`; it is drawn right after that element.

import { drawFramed } from "./frame.ts";
import type { Drawn } from "./marks/index.ts";
import { OwnContext, followTheme, type Outside } from "./own.ts";
import { decode } from "./picture.ts";
import { adoptStyles } from "./styles.ts";
import type { Picture } from "./types.ts";

/** Draw a picture from its bytes into an element; all pictures of a file share one selection. `told` hears of handles and commands. */
export function draw(element: HTMLElement, bytes: ArrayBuffer, told: Outside = {}): Drawn<Picture> {
  adoptStyles(element);
  Object.assign(outside, told);
  const drawn = drawFramed(element, decode(bytes), context);
  shown.push(drawn);
  return drawn;
}

const shown: Drawn<Picture>[] = [];
const outside: Outside = {};
const context = new OwnContext(followTheme((theme) => {
  context.theme = theme;
  context.changed();
}), outside);
context.changed = () => {
  for (const drawn of shown) drawn.refresh();
};

export { decode };

function drawAll(): void {
  for (const source of document.querySelectorAll('script[type="application/x-diorama"]')) {
    const place = document.createElement("main");
    source.after(place);
    draw(place, unpack(source.textContent ?? ""));
  }
}

function unpack(base64: string): ArrayBuffer {
  const text = atob(base64.replace(/\s/g, ""));
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return bytes.buffer;
}

if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", drawAll);
else drawAll();
