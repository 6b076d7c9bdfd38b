/** Pixels on their way to the server: as base64, in the forms that the kinds of input take. */

import { LONGEST_TEXT, type InputKind } from "../protocol.ts";
import type { Part } from "./parts.ts";

const CHUNK = 0x8000;
/** The longest side of a picture that is sent; no model here looks at more. */
const LARGEST = 256;
/** Bytes of a file that is read: any photograph has fewer. */
const LARGEST_FILE = 50e6;
/** A picture is sent with so many times the pixels a side that the model looks at: the rest would be thrown away. */
const FINER = 2;

export function base64(bytes: Uint8Array): string {
  let text = "";
  for (let at = 0; at < bytes.length; at += CHUNK) text += String.fromCharCode(...bytes.subarray(at, at + CHUNK));
  return btoa(text);
}

/** A drawing, from a canvas of light strokes on black: 0 is paper, 255 is ink. */
export function drawing(canvas: HTMLCanvasElement): Part {
  const { width, height } = canvas;
  const rgba = canvas.getContext("2d")!.getImageData(0, 0, width, height).data;
  const grey = new Uint8Array(width * height);
  for (let i = 0; i < grey.length; i++) grey[i] = rgba[4 * i]!;
  return { kind: "drawing", width, height, pixels: base64(grey) };
}

/** Exact pixels of the data's own size, made out of an example or of another input. */
export function exact(bytes: Uint8Array, width: number, height: number, channels: 1 | 3, example: number | null): Part {
  const of = example === null ? {} : { example };
  return { kind: "pixels", width, height, channels, pixels: base64(bytes), ...of };
}

/** A picture, from anything a canvas can draw; large ones are made smaller. `wanted` is the model's own size. */
export function picture(source: CanvasImageSource, width: number, height: number, wanted?: Pick<InputKind, "width" | "height">): Part {
  const enough = wanted?.width && wanted.height ? FINER * Math.max(wanted.width / width, wanted.height / height) : 1;
  const scale = Math.min(1, LARGEST / Math.max(width, height), enough);
  const [w, h] = [Math.max(1, Math.round(width * scale)), Math.max(1, Math.round(height * scale))];
  const canvas = new OffscreenCanvas(w, h);
  const context = canvas.getContext("2d", { willReadFrequently: true })!;
  context.imageSmoothingQuality = "high";
  context.drawImage(source, 0, 0, w, h);
  const rgba = context.getImageData(0, 0, w, h).data;
  const rgb = new Uint8Array(w * h * 3);
  for (let i = 0, j = 0; i < rgba.length; i += 4, j += 3) {
    rgb[j] = rgba[i]!;
    rgb[j + 1] = rgba[i + 1]!;
    rgb[j + 2] = rgba[i + 2]!;
  }
  return { kind: "image", width: w, height: h, pixels: base64(rgb) };
}

/** What each kind of input is made of, as a person would say it. */
const TAKES: Record<string, string> = { image: "a picture (png, jpeg)", tokens: "a text (.txt)", table: "a row of numbers (.csv)", series: "a row of numbers (.csv)" };

/** An uploaded file as an input: a picture, a text, or the first row of numbers of a table. What the network does not take is refused here. */
export async function fromFile(file: File, wants: string, kind: InputKind): Promise<Part> {
  const takes = TAKES[wants];
  if (!takes) throw new Error("this network takes no file; choose an example");
  if (file.size > LARGEST_FILE) throw new Error(`${file.name} is too large: at most ${LARGEST_FILE / 1e6} MB are looked at`);
  const shown = file.type.startsWith("image/");
  if (shown !== (wants === "image")) throw new Error(`${file.name} is ${shown ? "a picture" : "no picture"}, and this network takes ${takes}`);
  if (shown) {
    const bitmap = await createImageBitmap(file).catch(() => {
      throw new Error(`${file.name} is no picture that this browser can open, or too large a one`);
    });
    const input = picture(bitmap, bitmap.width, bitmap.height, kind);
    bitmap.close();
    return input;
  }
  const text = await file.text().catch(() => {
    throw new Error(`${file.name} cannot be read; a folder is no input`);
  });
  return wants === "tokens" ? written(file.name, text) : numbers(file.name, text, kind);
}

/** A text; bytes that are none are refused, and more than a network is asked about. */
export function written(name: string, text: string): Part {
  if (/[\0\ufffd]/.test(text)) throw new Error(`${name} holds other bytes than those of a text in UTF-8; save it as one`);
  if (!text.trim()) throw new Error(`${name} is empty`);
  if (text.length > LONGEST_TEXT) {
    const [most, has] = [LONGEST_TEXT, text.length].map((count) => count.toLocaleString("en-US"));
    throw new Error(`${name} has ${has} characters; at most ${most} are looked at, so give a part of it`);
  }
  return { kind: "text", text };
}

/** The first line that holds numbers alone, as many as the network takes. */
export function numbers(name: string, text: string, kind: InputKind): Part {
  for (const line of text.split(/\r?\n/)) {
    const values = line.split(/[,;\t]/).map((part) => (part.trim() ? Number(part) : NaN));
    if (!values.every(Number.isFinite)) continue;
    const wanted = kind.columns?.length;
    if (wanted && wanted !== values.length) throw new Error(`the first row of numbers in ${name} holds ${values.length}, and this network takes ${wanted}`);
    return { kind: "row", values };
  }
  throw new Error(`${name} holds no row of numbers that are all finite`);
}
