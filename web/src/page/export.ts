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
  const answer = await fetch("/export", {
    method: "POST",
    headers: { "Content-Type": "application/json", "X-Diorama-Token": token() ?? "" },
    body: JSON.stringify({ request, suffix }),
  });
  if (!answer.ok) throw new Error(await reason(answer));
  const address = URL.createObjectURL(await answer.blob());
  const anchor = document.createElement("a");
  anchor.href = address;
  anchor.download = `${request.run.split("/").at(-1) || "diorama"}-${request.view}.${suffix}`;
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
