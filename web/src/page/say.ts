/** Numbers and times in words, with as many digits as they deserve. */

export function sayNumber(value: number): string {
  if (!Number.isFinite(value)) return Number.isNaN(value) ? "NaN" : value > 0 ? "∞" : "−∞";
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 1e6 || size < 1e-3) return value.toExponential(1).replace("-", "−").replace("e+", "e");
  if (Number.isInteger(value)) return sayWhole(value);
  return Number(value.toPrecision(3)).toString().replace("-", "−");
}

export function sayWhole(value: number): string {
  return Math.round(value).toLocaleString("en-GB");
}

/** "3 s", "2 min", "1.5 h". */
export function saySeconds(seconds: number): string {
  if (seconds < 1) return `${Math.max(1, Math.round(seconds * 1000))} ms`;
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  return `${(seconds / 3600).toFixed(1)} h`;
}
