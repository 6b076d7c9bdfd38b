// A fish-eye lens: what lies under it is spread out, and nothing leaves the picture (Sarkar & Brown 1992).

/** How many times its middle is enlarged. */
export const ENLARGED = 5;

/** A place as it is seen through a lens about a middle, in the lens's own unit; outside of it, and in its middle, all stays where it is. */
export function seen(x: number, y: number, [left, top]: readonly [number, number], reach: number): [number, number] {
  const [dx, dy] = [x - left, y - top];
  const far = Math.hypot(dx, dy) / reach;
  if (!(far > 0) || far >= 1) return [x, y];
  const by = ENLARGED / ((ENLARGED - 1) * far + 1);
  return [left + dx * by, top + dy * by];
}
