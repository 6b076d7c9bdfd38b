/** Keys, the selection and the address of the page: the same text forms as `diorama.core.selection`, to and from the URL hash. */

/** Kinds of places in a model beside its layers: the name of such a point begins with its kind ("op:block.softmax"). */
const POINTS = ["op", "query", "key", "value", "pattern", "residual"];
const NAMED = ["run", "layer", "direction"];
const INDEXED = ["unit", "head", "weight"];
const NUMBERED = ["example", "class", "step", "token"];
export const KINDS = [...NAMED, ...POINTS, ...INDEXED, ...NUMBERED];
const NUMBERS = /^\d+(,\d+)*$/;

export interface Key {
  kind: string;
  name: string;
  index: number[];
  place: number[];
}

/** Percent-encode as Python's `urllib.parse.quote` does; `safe` characters stay as they are. */
export function quote(text: string, safe = ""): string {
  let out = "";
  for (const character of text) {
    if (safe.includes(character)) out += character;
    else
      out += encodeURIComponent(character).replace(
        /[!'()*]/g,
        (c) => "%" + c.charCodeAt(0).toString(16).toUpperCase(),
      );
  }
  return out;
}

/** Decode percent escapes; a broken escape stays as it was typed. */
export function unquote(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** Characters that stand as they are in the name of a key. */
const SAFE = ".#_- ";

function numbers(text: string): number[] | null {
  return NUMBERS.test(text) ? text.split(",").map(Number) : null;
}

/** Read a key from its text; null when it is not one. */
export function parseKey(text: string): Key | null {
  const colon = text.indexOf(":");
  if (colon < 0) return null;
  const kind = text.slice(0, colon);
  const rest = text.slice(colon + 1);
  if (POINTS.includes(kind)) return parsePoint(kind, rest);
  if (kind === "layer") {
    const at = rest.lastIndexOf("@");
    const place = at < 0 ? null : numbers(rest.slice(at + 1));
    if (place) return { kind, name: unquote(rest.slice(0, at)), index: [], place };
  }
  if (NAMED.includes(kind))
    return rest || kind === "layer" ? { kind, name: unquote(rest), index: [], place: [] } : null;
  if (INDEXED.includes(kind)) {
    const at = rest.indexOf("@");
    const front = at < 0 ? rest : rest.slice(0, at);
    const slash = front.lastIndexOf("/");
    const index = numbers(front.slice(slash + 1));
    const place = at < 0 ? [] : numbers(rest.slice(at + 1));
    if (slash < 0 || !index || !place) return null;
    return { kind, name: unquote(front.slice(0, slash)), index, place };
  }
  if (NUMBERED.includes(kind)) {
    const [first, last] = rest.split(/-(.*)/s);
    const begin = numbers(first ?? "");
    const end = rest.includes("-") ? numbers(last ?? "") : [];
    if (!begin || !end) return null;
    const index = [...begin, ...end];
    if (index.length > 2 || (index.length === 2 && index[1]! < index[0]!)) return null;
    return { kind, name: "", index, place: [] };
  }
  return null;
}

/** A point, one of its units (behind the last slash), or a place in them. */
function parsePoint(kind: string, rest: string): Key | null {
  const at = rest.indexOf("@");
  const front = at < 0 ? rest : rest.slice(0, at);
  const place = at < 0 ? [] : numbers(rest.slice(at + 1));
  if (!place) return null;
  const slash = front.lastIndexOf("/");
  const index = slash < 0 ? null : numbers(front.slice(slash + 1));
  if (index) return { kind: "unit", name: `${kind}:${unquote(front.slice(0, slash))}`, index, place };
  if (!front && kind === "op") return null;
  return { kind: "layer", name: `${kind}:${unquote(front)}`, index: [], place };
}

/** The kind of a point whose name this is, or nothing for the name of a module. */
function pointOf(key: Key): string {
  const kind = key.name.slice(0, Math.max(0, key.name.indexOf(":")));
  return ["layer", "unit"].includes(key.kind) && POINTS.includes(kind) ? kind : "";
}

/** The text of a key, in its one spelling. */
export function keyText(key: Key): string {
  const place = key.place.length ? "@" + key.place.join(",") : "";
  const point = pointOf(key);
  if (point) {
    const unit = key.index.length ? "/" + key.index.join(",") : "";
    return `${point}:${quote(key.name.slice(point.length + 1), SAFE)}${unit}${place}`;
  }
  if (NAMED.includes(key.kind)) return `${key.kind}:${quote(key.name, SAFE)}${place}`;
  if (INDEXED.includes(key.kind)) {
    return `${key.kind}:${quote(key.name, SAFE)}/${key.index.join(",")}${place}`;
  }
  return `${key.kind}:${key.index.join("-")}`;
}

/** The kind of a key: what an op or the like answers is a layer as any other, its channels are units. */
export function kindOf(key: string): string {
  const kind = key.slice(0, key.indexOf(":"));
  return POINTS.includes(kind) ? (parseKey(key)?.kind ?? kind) : kind;
}

/** The key as a person would say it: "unit 7 of conv2". */
export function sayKey(key: string): string {
  const parsed = parseKey(key);
  if (!parsed) return key;
  if (pointOf(parsed) && parsed.kind === "layer") return parsed.name.replace(":", " ");
  const number = /^[\d.#]+$/.test(parsed.name);
  if (NAMED.includes(parsed.kind)) return parsed.kind === "layer" && !parsed.name ? "the model" : `${parsed.kind} ${parsed.name}`.trim();
  if (INDEXED.includes(parsed.kind)) {
    const place = parsed.place.length ? ` at ${parsed.place.join(", ")}` : "";
    return `${parsed.kind} ${parsed.index.join(", ")} of ${number ? "layer " : ""}${parsed.name || "the model"}${place}`;
  }
  return `${parsed.kind} ${parsed.index.join(" to ")}`;
}

/** What is let go together, and what it is called: "example 3", or "72 examples" where more than `few` keys of a kind are chosen. */
export interface Chip {
  keys: string[];
  text: string;
}

export function chips(keys: readonly string[], few: number): Chip[] {
  const kinds = new Map<string, string[]>();
  for (const key of keys) kinds.set(kindOf(key), [...(kinds.get(kindOf(key)) ?? []), key]);
  return [...kinds].flatMap(([kind, own]): Chip[] =>
    own.length > few ? [{ keys: own, text: `${own.reduce((total, key) => total + members(key), 0)} ${kind === "class" ? "classes" : `${kind}s`}` }]
      : own.map((key) => ({ keys: [key], text: sayKey(key) })),
  );
}

/** How many things a key names: a stretch of examples names all in it. */
function members(key: string): number {
  const parsed = parseKey(key);
  return parsed && NUMBERED.includes(parsed.kind) && parsed.index.length === 2 ? parsed.index[1]! - parsed.index[0]! + 1 : 1;
}

/** What the user has chosen: set A, and set B where a view compares. */
export interface Selection {
  a: string[];
  b: string[];
}

function keysOf(text: string): string[] {
  const found: string[] = [];
  for (const part of text.split("+")) {
    const key = part && parseKey(part);
    if (key) found.push(keyText(key));
  }
  return found;
}

export function parseSelection(text: string): Selection {
  const bar = text.indexOf("|");
  return bar < 0 ? { a: keysOf(text), b: [] } : { a: keysOf(text.slice(0, bar)), b: keysOf(text.slice(bar + 1)) };
}

export function selectionText(selection: Selection): string {
  const first = selection.a.join("+");
  return selection.b.length ? `${first}|${selection.b.join("+")}` : first;
}

export type Knobs = Record<string, Record<string, string>>;

/** A place in the page: what the hash of its URL holds. `kept` is the name of a stored long selection ("@…"). */
export interface Address {
  run: string;
  step: string;
  room: string;
  view: string;
  mode: string;
  selection: Selection;
  kept: string;
  knobs: Knobs;
}

const FIELDS = ["run", "step", "room", "view", "mode"] as const;

export function emptyAddress(): Address {
  return { run: "", step: "", room: "", view: "", mode: "", selection: { a: [], b: [] }, kept: "", knobs: {} };
}

/** The URL hash, without the leading '#'. */
export function toHash(address: Address): string {
  const parts: [string, string][] = [];
  for (const field of FIELDS) if (address[field]) parts.push([field, address[field]]);
  const selection = address.kept || selectionText(address.selection);
  if (selection) parts.push(["select", selection]);
  for (const [view, values] of Object.entries(address.knobs))
    for (const [name, value] of Object.entries(values)) parts.push([`k.${view}.${name}`, value]);
  return parts.map(([name, value]) => `${quote(name)}=${quote(value)}`).join("&");
}

/** Read an address from a URL hash; unknown fields are ignored, so that old addresses stay valid. */
export function fromHash(text: string): Address {
  const address = emptyAddress();
  for (const part of text.replace(/^#+/, "").split("&")) {
    if (!part) continue;
    const equals = part.indexOf("=");
    const name = unquote(equals < 0 ? part : part.slice(0, equals));
    const value = equals < 0 ? "" : unquote(part.slice(equals + 1));
    const pieces = name.split(".");
    if (pieces[0] === "k" && pieces.length === 3) (address.knobs[pieces[1]!] ??= {})[pieces[2]!] = value;
    else if (name === "select" && value.startsWith("@")) address.kept = value;
    else if (name === "select") address.selection = parseSelection(value);
    else if ((FIELDS as readonly string[]).includes(name)) address[name as (typeof FIELDS)[number]] = value;
  }
  return address;
}
