// Making elements. Texts always go in as text, and styles through the CSSOM, so that hostile names stay names.

/** An element with a class and perhaps a text. */
export function make<T extends keyof HTMLElementTagNameMap>(tag: T, name = "", text?: string): HTMLElementTagNameMap[T] {
  const element = document.createElement(tag);
  if (name) element.className = name;
  if (text !== undefined) element.textContent = text;
  return element;
}

/** Set a text only where it differs, so that nothing is laid out again for nothing. */
export function setText(element: HTMLElement, text: string): void {
  if (element.textContent !== text) element.textContent = text;
}

/** The parts of a title, which may go on in the next line behind a dot of a layer's name: "encoder." and "conv1". */
export function dotted(title: string): string[] {
  return title.split(/(?<=\w\.)(?=[A-Za-z_])/);
}

/** The same as `setText` for a title, which may break between its parts. */
export function setTitle(element: HTMLElement, text: string): void {
  if (element.textContent === text) return;
  element.replaceChildren(...dotted(text).flatMap((part, i) => (i ? [document.createElement("wbr"), part] : [part])));
}

/** So many characters at the end of a long name tell it from its neighbours. */
const TELLING = 24;
const LONG = 30;

/** A text that holds a long dotted name in two parts, so that it can be cut between them and its end stays; others whole. */
export function parted(text: string): [string, string] {
  const long = text.split(" ").some((word) => word.length > LONG && word.includes("."));
  return long && text.length > LONG ? [text.slice(0, -TELLING), text.slice(-TELLING)] : [text, ""];
}

/** Of a dotted name the last two parts apart, which tell it from its neighbours where there is room for a dozen characters; others whole. */
export function lastParts(text: string): [string, string] {
  const at = /^\S{13,}$/.test(text) ? text.lastIndexOf(".", text.lastIndexOf(".") - 1) + 1 : 0;
  return at > 0 && text.length - at <= TELLING ? [text.slice(0, at), text.slice(at)] : parted(text);
}

/** Set a name that is cut in its middle where it has no room. */
export function setName(element: HTMLElement, text: string, cut = parted): void {
  if (element.textContent === text) return;
  const [begin, end] = cut(text);
  element.classList.toggle("parted", end !== "");
  if (end) element.replaceChildren(make("span", "begin", begin), make("span", "end", end));
  else element.textContent = text;
}

/** Set an attribute, or take it away with null. */
export function setAttribute(element: Element, name: string, value: string | null): void {
  if (value === null) element.removeAttribute(name);
  else if (element.getAttribute(name) !== value) element.setAttribute(name, value);
}

/** Bring a list of children to a length: the ones that stay are kept, so that a picture does not flicker. */
export function ensure<T extends HTMLElement>(parent: HTMLElement, items: T[], count: number, create: () => T): void {
  while (items.length > count) items.pop()?.remove();
  while (items.length < count) {
    const item = create();
    items.push(item);
    parent.append(item);
  }
}

const SVG = "http://www.w3.org/2000/svg";

/** An SVG element with attributes. */
export function svg<T extends keyof SVGElementTagNameMap>(tag: T, attributes: Record<string, string | number> = {}): SVGElementTagNameMap[T] {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, String(value));
  return element;
}

let last = 0;

/** A fresh id, for what must refer to an element by one. */
export function freshId(): string {
  last += 1;
  return `d${last}`;
}
