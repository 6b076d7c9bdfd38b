import assert from "node:assert/strict";
import { test } from "node:test";

import type { ToServer } from "../src/protocol.ts";

class Wire {
  static readonly OPEN = 1;
  static last: Wire;
  readonly readyState = 1;
  readonly sent: string[] = [];
  constructor() {
    Wire.last = this;
  }
  send(text: string): void {
    this.sent.push(text);
  }
}

test("a message that the server would hang up on is told and not sent, so that it cannot be sent anew for ever", async () => {
  Object.assign(globalThis, { WebSocket: Wire, location: { search: "", hash: "" }, localStorage: { getItem: () => null }, addEventListener: () => {} });
  const { Connection } = await import("../src/page/connection.ts");
  const told: [ToServer, string][] = [];
  const connection = new Connection("ws://here", { tooLong: (message: ToServer, words: string) => told.push([message, words]) } as never);
  const show = (text: string) => ({ do: "show", channel: 3, request: { input: { kind: "text", text } } }) as unknown as ToServer;
  for (const fits of ["a".repeat(23e6), "é".repeat(11e6)]) assert.ok(connection.send(show(fits)));
  assert.equal(Wire.last.sent.length, 2);
  for (const large of ["a".repeat(24e6), "é".repeat(12e6)]) assert.ok(connection.send(show(large)));
  assert.equal(Wire.last.sent.length, 2);
  assert.deepEqual([told.length, told[0]![0].do], [2, "show"]);
  assert.match(told[0]![1], /at most 24 MB/);
});
