// Handles that are controls of their own: a slider or a field that sets a knob of the view.

import type { Handle } from "../types.ts";
import type { Context } from "./context.ts";
import { make, setAttribute } from "./elements.ts";

/** Make room for a handle beside a mark; call the result with the mark's handle whenever it changes. */
export function handleIn(place: HTMLElement, context: Context): (handle: Handle | null) => void {
  const control = make("input", "handle");
  let knob = "";
  control.addEventListener("input", () => {
    if (control.type === "range") send();
  });
  control.addEventListener("change", () => {
    if (control.type !== "range") send();
  });
  control.hidden = true;
  place.append(control);

  function send(): void {
    const number = Number(control.value);
    if (control.value !== "" && Number.isFinite(number)) context.set(knob, number);
  }

  return (handle) => {
    const shown = handle?.kind === "slide" || handle?.kind === "type";
    control.hidden = !shown;
    if (!handle || !shown) return;
    knob = handle.knob;
    const kind = handle.kind === "slide" ? "range" : "number";
    if (control.type !== kind) control.type = kind;
    setAttribute(control, "aria-label", knob.replaceAll("_", " "));
    setAttribute(control, "min", String(handle.low));
    setAttribute(control, "max", String(handle.high));
    setAttribute(control, "step", "any");
    // What a person is holding is not pulled out of their hand by the answer to an earlier place.
    if (document.activeElement !== control && handle.value !== "") control.value = handle.value;
  };
}
