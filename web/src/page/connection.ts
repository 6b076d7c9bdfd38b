/** The one socket to the server: it comes back by itself, and hands on what arrives. */

import { LONGEST_MESSAGE, PATIENCE, type FromServer, type ToServer } from "../protocol.ts";
import { talks } from "./token.ts";

export interface Listener {
  open(): void;
  /** ``ever``: whether it has been open since the page came. */
  lost(retryAt: number, ever: boolean): void;
  message(message: FromServer): void;
  picture(channel: number, sequence: number, bytes: ArrayBuffer, start: number): void;
  /** A message is longer than the server takes: it would end the connection, and again each time it is sent anew. */
  tooLong(message: ToServer, words: string): void;
}

export class Connection {
  private readonly address: string;
  private readonly listener: Listener;
  private socket: WebSocket | null = null;
  private tries = 0;
  private ever = false;
  private timer = 0;

  constructor(address: string, listener: Listener) {
    this.address = address;
    this.listener = listener;
    this.connect();
    addEventListener("online", () => this.hurry());
  }

  get open(): boolean {
    return this.socket?.readyState === WebSocket.OPEN;
  }

  /** Send when connected; what is wanted is sent anew after a reconnection, so nothing is queued. */
  send(message: ToServer): boolean {
    if (!this.open) return false;
    const text = JSON.stringify(message);
    // Three bytes a character at most, so that only long ones are counted.
    if (text.length * 3 > LONGEST_MESSAGE && new TextEncoder().encode(text).length > LONGEST_MESSAGE)
      this.listener.tooLong(message, `this input is too large to be sent: at most ${LONGEST_MESSAGE / 1e6} MB are looked at`);
    else this.socket!.send(text);
    return true;
  }

  /** Try now instead of after the wait. */
  hurry(): void {
    if (this.open || !this.timer) return;
    clearTimeout(this.timer);
    this.timer = 0;
    this.connect();
  }

  private connect(): void {
    this.timer = 0;
    const socket = new WebSocket(this.address, talks());
    socket.binaryType = "arraybuffer";
    socket.onopen = () => {
      this.tries = 0;
      this.ever = true;
      this.listener.open();
    };
    socket.onmessage = ({ data }: MessageEvent<string | ArrayBuffer>) => {
      if (typeof data === "string") this.listener.message(JSON.parse(data) as FromServer);
      else this.binary(data);
    };
    socket.onclose = () => {
      if (this.socket !== socket) return;
      const wait = Math.min(PATIENCE.reconnect, 250 * 2 ** this.tries++);
      this.listener.lost(Date.now() + wait, this.ever);
      this.timer = window.setTimeout(() => this.connect(), wait);
    };
    this.socket = socket;
  }

  private binary(data: ArrayBuffer): void {
    const head = new DataView(data);
    this.listener.picture(head.getUint32(0, true), head.getUint32(4, true), data, 8);
  }
}
