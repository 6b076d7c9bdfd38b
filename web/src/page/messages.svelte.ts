/** What the page says to the person for a while: answers to commands, and what went wrong. */

/** Milliseconds that a message stays; one of something that went wrong twice as long. */
const SHORT_LIFE = 5000;

export interface Message {
  id: number;
  tone: "plain" | "bad";
  text: string;
}

export class Messages {
  shown = $state.raw<Message[]>([]);
  private ids = 0;

  /** Say something for a while, or until it is taken back; its number. */
  say(text: string, tone: Message["tone"] = "plain", stays = false): number {
    const message = { id: ++this.ids, tone, text };
    this.shown = [...this.shown.slice(-2), message];
    if (!stays) setTimeout(() => this.unsay(message.id), tone === "bad" ? 2 * SHORT_LIFE : SHORT_LIFE);
    return message.id;
  }

  unsay(id: number): void {
    this.shown = this.shown.filter((message) => message.id !== id);
  }
}
