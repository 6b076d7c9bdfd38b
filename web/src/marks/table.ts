// Rows that can be sorted by any column: numbers, shares as small bars, texts, classes, small images, small histories.

import { classColour, type Theme } from "../colour.ts";
import { row } from "../picture.ts";
import type { Column, Table } from "../types.ts";
import { paintImage } from "./cells.ts";
import { Chosen } from "./context.ts";
import { edges } from "./edges.ts";
import { ensure, make, setAttribute, setText } from "./elements.ts";
import { counted, format, percent, withUnit } from "./format.ts";
import type { Draw } from "./half.ts";
import { head } from "./head.ts";
import { cellOf, paintHistory, said, trace } from "./history.ts";
import { keyed, living, type Part } from "./keyed.ts";

const MANY = 200; // rows shown at first

interface Row extends HTMLTableRowElement {
  fields: HTMLTableCellElement[];
  box?: HTMLInputElement;
}

export const draw: Draw<Table> = (element, first, context) => {
  const frame = head(element, "table", context);
  const scroller = make("div", "table-scroller");
  const sheet = make("table", "table");
  const top = make("thead");
  const names = make("tr");
  const body = make("tbody");
  const more = make("button", "link");
  const beyond = make("button", "link table-beyond");
  more.type = beyond.type = "button";
  beyond.hidden = true;
  top.append(names);
  sheet.append(top, body);
  scroller.append(sheet);
  frame.body.append(beyond, scroller, more);
  const headers: HTMLTableCellElement[] = [];
  const rows: Row[] = [];
  const keys = keyed(body, context, { role: "row" });
  const every = boxed("th", "choose all rows in sight, or none of them");
  let inSight: string[] = [];
  let ticked: string | null = null; // the box that a range begins at
  let mark = first;
  let sorted = { column: first.sort, descending: first.descending };
  let chosenSort = false;
  let limit = MANY;
  more.addEventListener("click", () => {
    limit += MANY * 2;
    paint();
  });

  function paint(): void {
    const theme = context.theme;
    frame.update(mark, null, theme);
    const all = order(mark, sorted.column, sorted.descending);
    const shown = all.slice(0, limit);
    sheet.setAttribute("aria-label", mark.title || "table");
    sheet.style.setProperty("--rows", String(Math.max(1, shown.length)));
    ensure(names, headers, mark.columns.length, makeHeader);
    headers.forEach((header, i) => fillHeader(header, mark.columns[i] as Column));
    ensure(body, rows, shown.length, makeRow);
    rows.forEach((item, at) => fill(item, mark, shown[at] as number, theme));
    rows.forEach((item, at) => fold(item, mark, shown[at] as number));
    const parts: [HTMLElement, Part][] = rows.flatMap((item, at) => {
      const i = shown[at] as number;
      return [[item, part(mark, i)] as [HTMLElement, Part], ...cells(item, i)];
    });
    keys.set(parts.map(([item]) => item), parts.map(([, told]) => told));
    inSight = mark.boxes ? shown.flatMap((i) => mark.row_keys[i] || []) : [];
    if (inSight.length) names.prepend(every.cell);
    else every.cell.remove();
    rows.forEach((item, at) => box(item, mark.boxes ? mark.row_keys[shown[at] as number] ?? "" : ""));
    tick();
    more.hidden = shown.length === all.length;
    side.look();
    setText(more, `show more (${format(shown.length)} of ${counted(all.length, "row")})`);
  }

  /** A row that has a box can be chosen beside others. */
  function box(item: Row, key: string): void {
    if (!key) {
      item.box?.parentElement?.remove();
      delete item.box;
      return;
    }
    if (!item.box) {
      const made = boxed("td", "choose this row too");
      made.input.addEventListener("click", (event) => {
        event.stopPropagation();
        const mine = made.input.dataset["key"] ?? "";
        const [from, to] = [inSight.indexOf(ticked ?? ""), inSight.indexOf(mine)].sort((a, b) => a - b) as [number, number];
        if (event.shiftKey && from >= 0) context.select(inSight.slice(from, to + 1), "range");
        else context.select([mine], "toggle");
        ticked = mine;
        tick();
      });
      item.prepend(made.cell);
      item.box = made.input;
    }
    item.box.dataset["key"] = key;
  }

  /** The boxes say what is chosen. */
  function tick(): void {
    const chosen = new Chosen(context.selection);
    for (const item of rows) if (item.box) item.box.checked = chosen.has(item.box.dataset["key"] ?? "");
    const count = inSight.filter((key) => chosen.has(key)).length;
    every.input.checked = count > 0 && count === inSight.length;
    every.input.indeterminate = count > 0 && count < inSight.length;
  }

  every.input.addEventListener("click", () => {
    const chosen = new Chosen(context.selection);
    const missing = inSight.filter((key) => !chosen.has(key));
    context.select(missing.length ? missing : inSight, missing.length ? "range" : "toggle");
    tick();
  });

  /** Where there is little room, cells stand closer; the columns that are out of sight even so are named, and one click away. */
  function narrow(): void {
    scroller.classList.remove("tight");
    scroller.classList.toggle("tight", scroller.scrollWidth > scroller.clientWidth + 1);
    name();
  }

  function name(): void {
    const [left, width] = [scroller.scrollLeft, scroller.clientWidth];
    const names = mark.columns.map((column) => column.name || "pictures");
    const after = names.filter((_, i) => rightOf(headers[i]) > left + width + 2);
    const before = names.filter((_, i) => i > 0 && (headers[i]?.offsetLeft ?? 0) < left - 2);
    beyond.hidden = width === 0 || !(after.length || before.length);
    setText(beyond, after.length ? `${after.join(", ")} →` : `← ${before.join(", ")}`);
  }

  beyond.addEventListener("click", () => {
    const whole = scroller.scrollWidth - scroller.clientWidth;
    scroller.scrollLeft = scroller.scrollLeft < whole - 2 ? whole : 0;
  });
  const side = edges(scroller, narrow);
  scroller.addEventListener("scroll", name, { passive: true });

  /** Cells with a history are parts of their own: each is asked, and chooses its row's key and a step. */
  function cells(item: Row, i: number): [HTMLElement, Part][] {
    return mark.columns.flatMap((column, at) => (column.kind === "history" ? [[item.fields[at] as HTMLElement, cellOf(mark, column, i)] as [HTMLElement, Part]] : []));
  }

  /** A row that stands for several has a button that opens them. */
  function fold(item: Row, table: Table, i: number): void {
    const group = table.folds[i] ?? "";
    const open = table.open.includes(group);
    const field = item.fields[0];
    let button = field?.querySelector<HTMLButtonElement>(".table-fold") ?? null;
    if (!group || !field || !table.handle) return button?.remove();
    if (!button) {
      button = make("button", "table-fold");
      button.type = "button";
      button.addEventListener("click", (event) => {
        event.stopPropagation();
        const name = (event.currentTarget as HTMLElement).dataset["group"] ?? "";
        const others = mark.open.filter((one) => one !== name);
        context.set(mark.handle?.knob ?? "", (others.length < mark.open.length ? others : [...others, name]).join(","));
      });
    }
    if (field.firstChild !== button) field.prepend(button);
    button.dataset["group"] = group;
    button.disabled = context.fixed;
    setText(button, open ? "▾" : "▸");
    setAttribute(button, "aria-expanded", String(open));
    setAttribute(button, "aria-label", `${open ? "fold" : "unfold"} ${group}`);
  }

  function makeHeader(): HTMLTableCellElement {
    const header = make("th");
    const button = make("button", "table-sort");
    button.type = "button";
    header.scope = "col";
    header.append(button);
    button.addEventListener("click", () => {
      const column = mark.columns[headers.indexOf(header)];
      if (!column || column.kind === "image") return;
      // Numbers are looked at from the largest, texts from A.
      const descending = sorted.column === column.name ? !sorted.descending : column.kind !== "text" && column.kind !== "class";
      sorted = { column: column.name, descending };
      chosenSort = true;
      paint();
    });
    return header;
  }

  function fillHeader(header: HTMLTableCellElement, column: Column): void {
    const button = header.firstElementChild as HTMLButtonElement;
    const here = sorted.column === column.name;
    setText(button, column.name + (column.unit && column.kind !== "history" ? ` (${column.unit})` : "") + (here ? (sorted.descending ? " ↓" : " ↑") : ""));
    button.disabled = column.kind === "image";
    header.dataset["kind"] = column.kind;
    setAttribute(button, "title", column.note || null);
    setAttribute(button, "aria-description", column.note || null);
    setAttribute(header, "aria-sort", here ? (sorted.descending ? "descending" : "ascending") : null);
  }

  const life = living<Table>(element, context, keys, paint, (next) => {
    mark = next;
    if (!chosenSort) sorted = { column: next.sort, descending: next.descending };
  });
  return {
    ...life,
    refresh() {
      life.refresh();
      tick();
    },
    destroy() {
      side.destroy();
      life.destroy();
    },
  };
};

function rightOf(header: HTMLElement | undefined): number {
  return header ? header.offsetLeft + header.offsetWidth : 0;
}

function boxed(tag: "td" | "th", label: string): { cell: HTMLElement; input: HTMLInputElement } {
  const cell = make(tag, "table-box");
  const input = make("input");
  input.type = "checkbox";
  setAttribute(input, "aria-label", label);
  setAttribute(input, "title", label);
  cell.append(input);
  return { cell, input };
}

function makeRow(): Row {
  const item = make("tr") as Row;
  item.fields = [];
  return item;
}

/** The order of rows by a column; NaN always comes last. */
export function order(mark: Table, name: string, descending: boolean): number[] {
  const column = mark.columns.find((one) => one.name === name);
  const indices = Array.from({ length: rowsOf(mark) }, (_, i) => i);
  if (!column || column.kind === "image") return indices;
  const sign = descending ? -1 : 1;
  if (column.kind === "text") {
    const compare = new Intl.Collator("en", { numeric: true }).compare;
    return indices.sort((a, b) => sign * compare(column.texts[a] ?? "", column.texts[b] ?? "") || a - b);
  }
  const value = (i: number): number => column.numbers?.data[i] ?? NaN;
  return indices.sort((a, b) => {
    const [x, y] = [value(a), value(b)];
    if (Number.isNaN(x) || Number.isNaN(y)) return Number(Number.isNaN(x)) - Number(Number.isNaN(y)) || a - b;
    return x === y ? a - b : sign * (x < y ? -1 : 1);
  });
}

function rowsOf(mark: Table): number {
  const column = mark.columns[0];
  return column ? (column.numbers?.shape[0] ?? column.images?.shape[0] ?? column.texts.length) : 0;
}

function fill(item: Row, mark: Table, i: number, theme: Theme): void {
  item.classList.toggle("flagged", Boolean(mark.flagged?.data[i]));
  ensure(item, item.fields, mark.columns.length, () => make("td"));
  mark.columns.forEach((column, at) => fillCell(item.fields[at] as HTMLTableCellElement, mark, column, i, theme));
}

function fillCell(cell: HTMLTableCellElement, mark: Table, column: Column, i: number, theme: Theme): void {
  if (cell.dataset["kind"] !== column.kind) {
    cell.dataset["kind"] = column.kind;
    cell.replaceChildren();
    cell.classList.remove("outside");
    if (column.kind === "image") cell.append(make("canvas", "pixels"));
    if (column.kind === "class") cell.append(make("span", "dot"), make("span"));
    if (column.kind === "share") {
      const track = make("span", "share-track");
      track.append(make("span", "share-fill"));
      cell.append(track, make("span", "share-text"));
    }
    if (column.kind === "text") cell.append(make("span"));
    if (column.kind === "history") cell.append(trace(), make("span", "history-text"));
  }
  const number = column.numbers?.data[i] ?? NaN;
  const [one, two] = [cell.firstElementChild as HTMLElement | null, cell.lastElementChild as HTMLElement | null];
  if (column.kind === "image" && column.images) {
    const picture = row(column.images, i);
    cell.style.setProperty("--ratio", `${picture.shape[1] ?? 1} / ${picture.shape[0] ?? 1}`);
    paintImage(one as HTMLCanvasElement, picture, column.limits, theme);
  } else if (column.kind === "class" && one && two) {
    one.style.backgroundColor = Number.isNaN(number) ? "transparent" : classColour(number);
    setText(two, column.texts[i] ?? format(number));
  } else if (column.kind === "share" && one && two) {
    (one.firstElementChild as HTMLElement).style.width = `${Math.max(0, Math.min(1, number || 0)) * 100}%`;
    setText(two, percent(number));
  } else if (column.kind === "history") paintHistory(cell, mark, column, i);
  else if (column.kind === "text") setText(two as HTMLElement, column.texts[i] ?? "");
  else setText(cell, (column.signed && number > 0 ? "+" : "") + format(number));
}

function part(mark: Table, i: number): Part {
  const key = mark.row_keys[i];
  return {
    keys: key ? [key] : [],
    describe: () => mark.columns.filter((column) => column.kind !== "image").map((column) => `${column.name}: ${told(column, i)}`),
  };
}

function told(column: Column, i: number): string {
  const number = column.numbers?.data[i] ?? NaN;
  if (column.kind === "text" || column.kind === "class") return column.texts[i] ?? format(number);
  if (column.kind === "history") return said(column, i) || "not recorded";
  return column.kind === "share" ? percent(number) : withUnit(number, column.unit);
}
