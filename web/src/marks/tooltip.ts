// The one tooltip: it names what the pointer is on, in text only.

import { make } from "./elements.ts";

let tip: HTMLElement | null = null;

/** Show lines beside a place on the screen; the first is the name, the others its values; above them perhaps a picture. */
export function showTip(near: HTMLElement, x: number, y: number, lines: readonly string[], picture?: HTMLElement): void {
  const shown = lines.filter(Boolean);
  if (!shown.length) return hideTip();
  tip ??= build();
  const home = near.closest<HTMLElement>(".diorama") ?? document.body;
  if (tip.parentNode !== home) home.append(tip);
  tip.replaceChildren(...(picture ? [picture] : []), ...shown.map((line, i) => make("div", i ? "tip-value" : "tip-name", line)));
  if (!tip.matches(":popover-open")) tip.showPopover();
  const { width, height } = tip.getBoundingClientRect();
  const left = x + 14 + width > innerWidth ? x - 10 - width : x + 14;
  const top = y + 16 + height > innerHeight ? y - 10 - height : y + 16;
  tip.style.left = `${Math.max(4, left)}px`;
  tip.style.top = `${Math.max(4, top)}px`;
}

export function hideTip(): void {
  if (tip?.isConnected && tip.matches(":popover-open")) tip.hidePopover();
}

function build(): HTMLElement {
  const element = make("div", "tip");
  element.popover = "manual";
  element.setAttribute("role", "tooltip");
  return element;
}
