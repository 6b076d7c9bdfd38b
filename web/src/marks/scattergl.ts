// Very many points of a scatter, drawn by the graphics processor: their places go there once, and a look is a few numbers.

import type { Scatter } from "../types.ts";
import { ENLARGED } from "./lens.ts";
import { LENS, SMALLER, axis, inPart, type Look } from "./scatterplan.ts";

/** More points than this are drawn so; and so many of them are drawn while the picture moves: what costs a frame is the points. */
export const MANY = 100_000;
const MOVING = 30_000;

const CORNERS = `
attribute vec3 at;
attribute vec4 ink;
uniform vec4 turn;
uniform vec3 look;
uniform vec2 kind;
uniform vec3 lens;
varying vec3 shade;
void main() {
  vec2 lying = at.xy;
  float depth = 0.0;
  if (kind.x > 0.5) {
    float back = at.z * turn.x - at.x * turn.y;
    depth = at.y * turn.w + back * turn.z;
    lying = vec2(at.x * turn.x + at.z * turn.y, at.y * turn.z - back * turn.w) * ${SMALLER};
  }
  vec2 place = (lying - look.xy) * look.z;
  float far = lens.z > 0.0 ? distance(place, lens.xy) / lens.z : 1.0;
  if (far < 1.0) place = lens.xy + (place - lens.xy) * ${ENLARGED.toFixed(1)} / (${(ENLARGED - 1).toFixed(1)} * far + 1.0);
  gl_Position = vec4(place, (ink.a > 0.75 ? -0.5 : 0.5) - depth * 0.2, 1.0);
  gl_PointSize = kind.y;
  shade = ink.rgb;
}`;
const PIXELS = `
precision mediump float;
varying vec3 shade;
void main() { gl_FragColor = vec4(shade, 1.0); }`;

interface Press {
  readonly gl: WebGLRenderingContext;
  readonly at: number;
  readonly ink: number;
  readonly turn: WebGLUniformLocation | null;
  readonly look: WebGLUniformLocation | null;
  readonly kind: WebGLUniformLocation | null;
  readonly lens: WebGLUniformLocation | null;
}

function started(canvas: HTMLCanvasElement): Press | null {
  const gl = canvas.getContext("webgl", { antialias: false, alpha: true });
  const program = gl?.createProgram();
  if (!gl || !program) return null;
  for (const [kind, text] of [[gl.VERTEX_SHADER, CORNERS], [gl.FRAGMENT_SHADER, PIXELS]] as const) {
    const shader = gl.createShader(kind);
    if (!shader) return null;
    gl.shaderSource(shader, text);
    gl.compileShader(shader);
    gl.attachShader(program, shader);
  }
  gl.linkProgram(program);
  if (!gl.getProgramParameter(program, gl.LINK_STATUS)) return null;
  gl.useProgram(program);
  gl.enable(gl.DEPTH_TEST);
  gl.depthFunc(gl.LEQUAL);
  const [at, ink] = [gl.getAttribLocation(program, "at"), gl.getAttribLocation(program, "ink")];
  gl.enableVertexAttribArray(at);
  gl.enableVertexAttribArray(ink);
  const place = (name: string): WebGLUniformLocation | null => gl.getUniformLocation(program, name);
  return { gl, at, ink, turn: place("turn"), look: place("look"), kind: place("kind"), lens: place("lens") };
}

/** What the graphics processor holds of one mark. */
interface Held {
  readonly mark: Scatter;
  readonly places: WebGLBuffer;
  readonly inks: WebGLBuffer;
  /** Which point lies at each place of the buffers: those that are drawn while it moves come first. */
  readonly order: Uint32Array;
  readonly part: number;
  readonly colours: Uint32Array;
}

/** How a cloud is looked at: `inkOf` packs each point's colour, and `same` is all that colours follow from. */
export interface Sight {
  readonly look: Look;
  readonly moving: boolean;
  /** Of the square, CSS pixels; device pixels for each; and of a point. */
  readonly side: number;
  readonly density: number;
  readonly reach: number;
  readonly inkOf: (i: number) => number;
  readonly isPale: (i: number) => boolean;
  readonly same: readonly unknown[];
}

/** The points of one scatter, on a canvas that lies under the others in `place`: nothing is ever read back from it. */
export class Cloud {
  readonly #place: () => HTMLElement;
  readonly #again: () => void;
  #canvas: HTMLCanvasElement | null = null;
  #press: Press | null | undefined; // undefined: not asked for yet; null: there is none
  #held: Held | null = null;
  #inked: readonly unknown[] = [];

  /** `again` paints once more: by other means, where the browser takes the context away. */
  constructor(place: () => HTMLElement, again: () => void) {
    this.#place = place;
    this.#again = again;
  }

  /** Whether this browser draws with WebGL; where it has taken the context away, it does not. */
  get usable(): boolean {
    if (this.#press === undefined) {
      this.#canvas = document.createElement("canvas");
      this.#canvas.className = "sheet-cloud";
      this.#canvas.setAttribute("aria-hidden", "true");
      this.#press = started(this.#canvas);
      if (this.#press) this.#place().prepend(this.#canvas);
      this.#canvas.addEventListener("webglcontextlost", () => this.#press && this.#again());
    }
    if (this.#press?.gl.isContextLost()) this.destroy();
    return Boolean(this.#press);
  }

  /** Draw the points; false without WebGL. */
  paint(mark: Scatter, sight: Sight): boolean {
    if (!this.usable || !this.#press || !this.#canvas) return false;
    const { gl, at, ink, turn, look, kind, lens } = this.#press;
    if (this.#held?.mark !== mark) {
      this.#forget();
      this.#held = held(gl, mark);
      if (!this.#held) return false;
    }
    const { places, inks, order, part, colours } = this.#held;
    const size = Math.max(1, Math.round(sight.side * sight.density));
    const canvas = this.#canvas;
    if (canvas.width !== size || canvas.height !== size) [canvas.width, canvas.height] = [size, size];
    canvas.style.width = canvas.style.height = `${sight.side}px`;
    canvas.hidden = false;
    gl.viewport(0, 0, size, size);
    gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
    gl.bindBuffer(gl.ARRAY_BUFFER, places);
    gl.vertexAttribPointer(at, 3, gl.FLOAT, false, 0, 0);
    gl.bindBuffer(gl.ARRAY_BUFFER, inks);
    gl.vertexAttribPointer(ink, 4, gl.UNSIGNED_BYTE, true, 0, 0);
    if (sight.same.length !== this.#inked.length || sight.same.some((value, k) => value !== this.#inked[k])) {
      // Pale points lie behind the others: the last byte tells which they are.
      for (let k = 0; k < order.length; k++) {
        const i = order[k] as number;
        colours[k] = ((sight.inkOf(i) & 0xffffff) | ((sight.isPale(i) ? 128 : 255) << 24)) >>> 0;
      }
      gl.bufferData(gl.ARRAY_BUFFER, colours, gl.DYNAMIC_DRAW);
      this.#inked = sight.same;
    }
    const { azimuth, elevation, x, y, zoom } = sight.look;
    gl.uniform4f(turn, Math.cos(azimuth), Math.sin(azimuth), Math.cos(elevation), Math.sin(elevation));
    gl.uniform3f(look, x, y, zoom);
    const through = sight.look.lens;
    gl.uniform3f(lens, through ? 2 * through[0] - 1 : 0, through ? 1 - 2 * through[1] : 0, through ? 2 * LENS : 0);
    gl.uniform2f(kind, mark.points.shape[1] === 3 ? 1 : 0, sight.reach);
    gl.drawArrays(gl.POINTS, 0, sight.moving ? part : order.length);
    return true;
  }

  /** The picture has few points now. */
  hide(): void {
    if (this.#canvas) this.#canvas.hidden = true;
  }

  #forget(): void {
    this.#press?.gl.deleteBuffer(this.#held?.places ?? null);
    this.#press?.gl.deleteBuffer(this.#held?.inks ?? null);
    this.#held = null;
    this.#inked = [];
  }

  /** Give back what the graphics processor holds, the context too: a browser gives only a few. */
  destroy(): void {
    this.#forget();
    this.#press?.gl.getExtension("WEBGL_lose_context")?.loseContext();
    this.#press = null;
    this.#canvas?.remove();
  }
}

/** One in so many points is drawn while a picture of so many moves. */
export function rarity(count: number): number {
  return count > MANY ? Math.ceil(count / MOVING) : 1;
}

function held(gl: WebGLRenderingContext, mark: Scatter): Held | null {
  const [count = 0, stride = 2] = mark.points.shape;
  const numbers = mark.points.data;
  const one = rarity(count);
  const order = new Uint32Array(count);
  let length = 0;
  let part = 0;
  for (const first of [true, false]) {
    for (let i = 0; i < count; i++) {
      if (inPart(i, one) !== first) continue;
      // A point without a place is not drawn.
      let sum = 0;
      for (let k = 0; k < stride; k++) sum += numbers[i * stride + k] as number;
      if (Number.isFinite(sum)) order[length++] = i;
    }
    if (first) part = length;
  }
  const axes = [axis(mark, 0), axis(mark, 1), axis(mark, 2)];
  const flat = new Float32Array(3 * length);
  for (let j = 0; j < length; j++) {
    const i = order[j] as number;
    for (let k = 0; k < stride; k++) flat[3 * j + k] = (numbers[i * stride + k] as number) * axes[k]![0] + axes[k]![1];
  }
  const [places, inks] = [gl.createBuffer(), gl.createBuffer()];
  if (!places || !inks) return null;
  gl.bindBuffer(gl.ARRAY_BUFFER, places);
  gl.bufferData(gl.ARRAY_BUFFER, flat, gl.STATIC_DRAW);
  return { mark, places, inks, order: order.subarray(0, length), part, colours: new Uint32Array(length) };
}
