// Reads a picture's binary form: magic, header length, JSON header, then arrays at multiples of eight bytes.

import { STRUCTS, type NdArray, type Numbers, type Picture } from "./types.ts";

const MAGIC = 0x314f4944; // "DIO1", little-endian

interface Layout {
  readonly dtype: string;
  readonly shape: number[];
  readonly offset: number;
}

const VIEWS: Readonly<Record<string, new (buffer: ArrayBuffer, offset: number, length: number) => Numbers>> = {
  f4: Float32Array,
  f8: Float64Array,
  i1: Int8Array,
  u1: Uint8Array,
  i2: Int16Array,
  u2: Uint16Array,
  i4: Int32Array,
  u4: Uint32Array,
};

/** Decode the bytes of `Picture.to_bytes`; arrays are views into the buffer, so that nothing is copied. */
export function decode(source: ArrayBuffer, start = 0): Picture {
  // Typed arrays need aligned offsets; a start that is not a multiple of eight costs one copy.
  const buffer = start % 8 ? source.slice(start) : source;
  const base = start % 8 ? 0 : start;
  const head = new DataView(buffer, base);
  if (head.byteLength < 8 || head.getUint32(0, true) !== MAGIC) throw new Error("these bytes are not a picture");
  const length = head.getUint32(4, true);
  const text = new TextDecoder().decode(new Uint8Array(buffer, base + 8, length));
  const header = JSON.parse(text) as { picture: unknown; arrays: Layout[] };
  const arrays = header.arrays.map((layout) => view(buffer, base + 8 + length, layout));
  return complete(header.picture, "Picture", arrays) as Picture;
}

function view(buffer: ArrayBuffer, start: number, layout: Layout): NdArray {
  const View = VIEWS[layout.dtype];
  if (!View) throw new Error(`a picture holds no arrays of type ${layout.dtype}`);
  const size = layout.shape.reduce((a, b) => a * b, 1);
  return { dtype: layout.dtype, shape: layout.shape, data: new View(buffer, start + layout.offset, size) };
}

/** Put arrays in their places and fill in what the header left out because it holds its default. */
function complete(value: unknown, form: string | null, arrays: readonly NdArray[]): unknown {
  if (Array.isArray(value)) return value.map((item) => complete(item, form, arrays));
  if (value === null || typeof value !== "object") return value;
  const given = value as Record<string, unknown>;
  if (typeof given["$"] === "number") return arrays[given["$"]];
  const name = form ?? nameOf(given["mark"]);
  const struct = name === undefined ? undefined : STRUCTS[name];
  if (!struct) return value;
  const whole: Record<string, unknown> = { ...struct.defaults, ...given };
  for (const field of Object.keys(given)) {
    const nested = struct.nested[field];
    const inner = given[field];
    if (nested !== undefined) whole[field] = complete(inner, nested, arrays);
    else if (inner !== null && typeof inner === "object" && "$" in inner) whole[field] = complete(inner, "", arrays);
  }
  return whole;
}

function nameOf(tag: unknown): string | undefined {
  return Object.keys(STRUCTS).find((name) => name.toLowerCase() === tag);
}

/** The number of rows of an array. */
export function rows(array: NdArray): number {
  return array.shape[0] ?? 0;
}

/** One row of an array, as a view: an image out of a stack, a line out of a matrix. */
export function row(array: NdArray, index: number): NdArray {
  const shape = array.shape.slice(1);
  const size = shape.reduce((a, b) => a * b, 1);
  return { dtype: array.dtype, shape, data: array.data.subarray(index * size, (index + 1) * size) as Numbers };
}
