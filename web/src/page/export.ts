/** Pictures and films as files: the server makes them, the browser saves them. */

import type { Request } from "../protocol.ts";
import { token } from "./token.ts";

export const FORMATS: readonly (readonly [string, string])[] = [
  ["png", "picture, 300 dpi"],
  ["svg", "picture, vector"],
  ["pdf", "picture, for a paper"],
  ["html", "one file that still hovers"],
  ["mp4", "film over all snapshots"],
  ["gif", "film over all snapshots"],
  ["json", "marks and provenance"],
  ["npz", "the numbers"],
];

/** Fetch the file and hand it to the browser; rejects with what the server says. */
export async function save(request: Request, suffix: string): Promise<void> {
  await fetched("/export", { request, suffix }, `${last(request.run)}-${request.view}.${suffix}`);
}

/** What people changed in a run's data, as the file that `diorama.data(dataset, changes=…)` reads. */
export async function saveChanges(run: string): Promise<void> {
  await fetched("/changes", { run }, `${last(run)}-changes.csv`);
}

const last = (run: string): string => run.split("/").at(-1) || "diorama";

async function fetched(place: string, asked: object, name: string): Promise<void> {
  const answer = await fetch(place, {
    method: "POST",
    headers: { "Content-Type": "application/json", "X-Diorama-Token": token() ?? "" },
    body: JSON.stringify(asked),
  });
  if (!answer.ok) throw new Error(await reason(answer));
  const address = URL.createObjectURL(await answer.blob());
  const anchor = document.createElement("a");
  anchor.href = address;
  anchor.download = name;
  anchor.click();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
}

async function reason(answer: Response): Promise<string> {
  const text = await answer.text();
  try {
    const body = JSON.parse(text) as { message?: string; error?: string };
    return body.message ?? body.error ?? text;
  } catch {
    return text || `the server answered ${answer.status}`;
  }
}
