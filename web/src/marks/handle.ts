// Handles that are controls of their own: a field beside a mark's title, and a slider under the mark, that set a knob of the view.

import type { Handle } from "../types.ts";
import type { Context } from "./context.ts";
import { make, setAttribute, setText } from "./elements.ts";
import { format } from "./format.ts";

type Show = (handle: Handle | null) => void;

/** How long what a person has set is shown, while pictures of earlier places still come in. */
export const HELD = 2000;

/** Make room for a field; call the result with the mark's handle whenever it changes. */
export function fieldIn(place: HTMLElement, context: Context): Show {
  const control = make("input", "handle");
  control.type = "number";
  control.hidden = true;
  place.append(control);
  let knob = "";
  control.addEventListener("change", () => {
    const number = Number(control.value);
    if (control.value !== "" && Number.isFinite(number)) context.set(knob, number);
  });
  return (handle) => {
    const shown = handle?.kind === "type";
    control.hidden = !shown;
    if (!handle || !shown) return;
    knob = handle.knob;
    control.disabled = context.fixed;
    bound(control, handle);
    // What a person is typing is not pulled out of their hand by the answer to an earlier place.
    if (document.activeElement !== control && handle.value !== "") control.value = handle.value;
  };
}

/** Make room for a slider after an element: its ends on both sides, where it stands between them. */
export function sliderIn(after: HTMLElement, context: Context): Show {
  const line = make("label", "slide");
  const low = make("span", "slide-end");
  const control = make("input", "slide-control");
  const high = make("span", "slide-end");
  const now = make("output", "slide-now");
  control.type = "range";
  line.append(low, control, high, now);
  line.hidden = true;
  after.after(line);
  let knob = "";
  let heldUntil = 0;
  const tell = (moving: boolean): void => {
    heldUntil = performance.now() + HELD;
    setText(now, format(control.valueAsNumber, 3));
    context.set(knob, Number(control.valueAsNumber.toPrecision(4)), moving);
  };
  control.addEventListener("input", () => tell(true));
  control.addEventListener("change", () => tell(false));
  return (handle) => {
    const shown = handle?.kind === "slide";
    line.hidden = !shown;
    if (!handle || !shown) return;
    knob = handle.knob;
    control.disabled = context.fixed;
    bound(control, handle);
    setText(low, format(handle.low, 3));
    setText(high, format(handle.high, 3));
    const asked = Number(handle.value);
    const arrived = Math.abs(control.valueAsNumber - asked) <= 1e-3 * Math.abs(handle.high - handle.low);
    if (arrived) heldUntil = 0;
    // The answer to an earlier place does not pull the slider back from where it has been moved to since.
    else if (handle.value !== "" && performance.now() > heldUntil) control.value = handle.value;
    setText(now, format(control.valueAsNumber, 3));
  };
}

function bound(control: HTMLInputElement, handle: Handle): void {
  setAttribute(control, "aria-label", handle.knob.replaceAll("_", " "));
  setAttribute(control, "min", String(handle.low));
  setAttribute(control, "max", String(handle.high));
  setAttribute(control, "step", handle.whole ? "1" : "any");
}
