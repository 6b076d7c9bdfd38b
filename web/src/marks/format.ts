// Numbers as text: as many digits as they deserve, a true minus sign, and NaN and infinity by name.

/** Three significant digits, large whole numbers with commas; small ones as 0.00084, and where zeros would have to be counted as 8.4 × 10⁻⁷. */
export function format(value: number | null | undefined, digits = 3): string {
  if (value === null || value === undefined || Number.isNaN(value)) return "NaN";
  if (!Number.isFinite(value)) return value > 0 ? "∞" : "−∞";
  const size = Math.abs(value);
  const sign = value < 0 ? "−" : "";
  if (size === 0) return "0";
  if (Number.isInteger(value) && size < 1e9) return sign + size.toLocaleString("en-US");
  if (size >= 1e6 || size < 1e-5) return sign + power(size, Math.max(1, digits - 2));
  if (size < 1e-3) return sign + String(rounded(size, 2));
  if (size >= 1000) return sign + even(size).toLocaleString("en-US");
  return sign + String(rounded(size, digits));
}

/** A number above nothing with so many significant digits. What lies in the middle between two goes to the even one, as sentences have it: 1/32 is 3.12 % everywhere. */
export function rounded(size: number, digits: number): number {
  const [mantissa = "", exponent = ""] = size.toExponential(60).split("e");
  const figures = mantissa.replace(".", "");
  const middle = figures[digits] === "5" && !/[1-9]/.test(figures.slice(digits + 1));
  if (!middle || Number(figures[digits - 1]) % 2 === 1) return Number(size.toPrecision(digits));
  return Number(`${figures.slice(0, digits)}e${Number(exponent) - digits + 1}`);
}

/** The nearest whole number; of two the even one. */
function even(size: number): number {
  const near = Math.round(size);
  return size % 1 === 0.5 && near % 2 === 1 ? near - 1 : near;
}

const RAISED = "⁰¹²³⁴⁵⁶⁷⁸⁹";

function power(size: number, digits: number): string {
  const [mantissa = "", exponent = ""] = size.toExponential(digits).split("e");
  const raised = [...exponent.replace("+", "")].map((sign) => (sign === "-" ? "⁻" : RAISED[Number(sign)])).join("");
  return Math.abs(size / Number(`1e${exponent}`) - 1) < 1e-9 ? `10${raised}` : `${mantissa} × 10${raised}`;
}

/** A share as percent: 4 %, 0.3 %. */
export function percent(share: number): string {
  if (!Number.isFinite(share)) return format(share);
  const value = share * 100;
  const digits = value !== 0 && Math.abs(value) < 1 ? 1 : value > 99 && value < 100 ? 1 : 0;
  return `${digits || value < 0 ? value.toFixed(digits) : even(value)} %`;
}

/** A number with its unit. */
export function withUnit(value: number, unit: string): string {
  return unit ? `${format(value)} ${unit}` : format(value);
}

/** Seconds as a person says them: 0.4 s, 12 s, 3 min, 2.5 h. */
export function duration(seconds: number): string {
  return timed(seconds, 2);
}

/** The same with more digits than two, where these are asked for. */
export function timed(seconds: number, digits: number): string {
  const size = Math.abs(seconds);
  const whole = (value: number): string => (digits > 2 ? format(value, digits) : String(Math.round(value)));
  if (size < 1) return `${format(seconds, digits)} s`;
  if (size < 120) return `${whole(seconds)} s`;
  if (size < 7200) return `${whole(seconds / 60)} min`;
  return `${format(seconds / 3600, digits)} h`;
}

/** A count with its noun: 1 cell, 12 cells. */
export function counted(count: number, noun: string): string {
  return `${format(count)} ${noun}${count === 1 ? "" : "s"}`;
}
