// The browser half of a mark: what each file that bears a mark's name gives.

import type { Node } from "../types.ts";
import type { Context, Drawn } from "./context.ts";

/** Draw a mark into an element; `any` draws whatever mark stands inside it. */
export type Draw<M> = (element: HTMLElement, mark: M, context: Context, any: Draw<Node>) => Drawn<M>;

/** The place that a picture is given on the page. */
export interface Space {
  readonly width: number;
  readonly height: number;
  /** The view fills the whole middle. */
  readonly enlarged: boolean;
}

/** A body that fits its place. */
export interface Fitted {
  readonly body: Node;
  /** Where a square matrix must be narrower than its place to be low enough. */
  readonly width: number | null;
}

/** What a half that holds others asks of them. */
export interface Measures {
  height(node: Node, width: number, factor: number): number;
  width(node: Node, factor: number): number;
  scaled(node: Node, factor: number): Node;
}

/** All but `draw` is for marks that fit themselves to a place: without a height, a mark stands as high as it is, and scrolls. */
export interface Half<M> {
  readonly draw: Draw<M>;
  /** How high it stands without its title and caption, in a width, when its pictures are drawn larger by a factor. */
  height?(mark: M, width: number, factor: number, of: Measures): number;
  /** How wide it stands beside others. */
  width?(mark: M, factor: number, of: Measures): number;
  /** The mark drawn larger by a factor. */
  scaled?(mark: M, factor: number, of: Measures): M;
  /** The mark as high as its place: a chart takes any height. */
  filling?(mark: M, height: number): M;
  /** Fitted to a place by a rule of its own, `around` of it taken by title and caption; null where that rule is not for it. */
  fitted?(mark: M, space: Space, around: number): { mark: M; width: number | null } | null;
  /** Whether a line of words stands beside its title. */
  detailed?(mark: M): boolean;
}

/** Below these, nothing can be read. */
export const LEAST = { scale: 0.55, chart: 84, picture: 127 };
