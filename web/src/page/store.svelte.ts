/** The state of the page: what the server says, where the user is (the address), and what they can do. */

import {
  emptyAddress, fromHash, kindOf, keyText, parseKey, selectionText, toHash, type Address, type Selection,
} from "./address.ts";
import { birthsAt, FollowedSelection } from "./births.ts";
import { Channel } from "./channel.svelte.ts";
import { Connection } from "./connection.ts";
import type {
  FromServer, Hello, KnobValue, RawInput, Room, RunEntry, RunState, ToServer, View,
} from "../protocol.ts";
import type { Picture } from "../types.ts";
import { Messages, type Message } from "./messages.svelte.ts";
import { madeOf, withPart, type Part } from "./parts.ts";
import { knobsFor, knobText, moveOf, othersOf, type Edit, type Situation } from "./requests.ts";
import { viewOf } from "./arrange.ts";
import { questionOf, type Question } from "./steering.ts";
import { Time } from "./time.svelte.ts";
import type { How } from "../marks/context.ts";

export type Mode = "training" | "input";

/** Keys of these kinds in set B name a second run and step. */
const ASIDE = ["run", "step"];

/** A selection longer than this is stored by the server and named in the address. */
const LONG = 600;
/** The view that shows two runs side by side. */
const BESIDE = "compare";
/** So long the pointer rests on something before it is tried out, and is gone before that ends. */
const RESTS = 120;
const LEAVES = 80;
/** Milliseconds between two spellings of the address while something is dragged. */
const SPELLING = 250;

export class Page {
  status = $state<"connecting" | "open" | "lost">("connecting");
  /** The socket never opened: the server has ended, or it does not know this page. */
  turnedAway = $state(false);
  hello = $state.raw<Hello | null>(null);
  /** Before the greeting of the very first start: what the server is busy with. */
  preparing = $state.raw<{ done: number; total: number; note: string } | null>(null);
  runs = $state.raw<RunEntry[]>([]);
  states = $state.raw<Record<string, RunState>>({});
  address = $state.raw<Address>(emptyAddress());
  /** The drawn, uploaded or typed input; null looks at the chosen probe example. */
  input = $state.raw<RawInput | null>(null);
  readonly time = new Time(this);
  readonly messages = new Messages();
  /** What is asked before a command is sent. */
  question = $state.raw<Question | null>(null);
  hovered = $state.raw<string | null>(null);
  /** What the pointer rests on: views that can show it as if it were chosen. */
  tried = $state.raw<string | null>(null);
  /** The input is being edited in the tray. */
  editing = $state(false);
  /** Takes a chosen example instead of the selection: a tool of the editor that wants one. */
  taker: ((example: number) => void) | null = null;
  /** The last picture of each view, for the catalogue. */
  readonly lastPictures = new Map<string, Picture>();
  /** Answers to what was asked by number: commands, kept and recalled selections. */
  private waiting = new Map<number, (message: FromServer) => void>();
  private coming: { beside: string; run: string } | null = null;
  private channels = new Map<number, Channel>();
  private ids = 0;
  private connection: Connection | null = null;
  private followed = new FollowedSelection();
  private resting = 0;
  private spelling = 0;

  readonly run = $derived(this.address.run || (this.runs.find((run) => run.alive) ?? this.runs.find((run) => !run.error) ?? this.runs[0])?.name || "");
  readonly entry = $derived(this.runs.find((run) => run.name === this.run));
  readonly state = $derived<RunState | null>(this.states[this.run] ?? null);
  readonly rooms = $derived<Room[]>((this.hello?.rooms ?? []).filter((r) => r.training.length || r.input.length));
  readonly room = $derived<Room | null>(
    this.address.room === "catalogue"
      ? null
      : (this.rooms.find((room) => room.name === this.address.room) ?? this.rooms[0] ?? null),
  );
  readonly catalogue = $derived(this.address.room === "catalogue");
  readonly mode = $derived<Mode>(this.address.mode === "input" ? "input" : "training");
  readonly views = $derived(new Map((this.hello?.views ?? []).map((view) => [view.name, view])));
  readonly live = $derived(this.address.step === "" && (this.state?.alive ?? false));
  /** The step in sight. */
  readonly step = $derived(this.address.step === "" ? (this.state?.last ?? 0) : Number(this.address.step));
  /** Where a view has moved the weights to, and whose knobs say so. */
  readonly moved = $derived.by<{ slot: string; place: string; edit: Edit } | null>(() => {
    for (const [slot, knobs] of Object.entries(this.address.knobs)) {
      const view = this.views.get(viewOf(slot));
      const edit = view && moveOf(view, knobsFor(view, {}, knobs));
      if (edit) return { slot, place: view.moves[1]!, edit };
    }
    return null;
  });
  readonly situation = $derived<Situation>({
    run: this.run,
    step: this.address.step,
    state: this.state,
    selection: this.address.selection,
    input: this.input,
    edits: this.moved ? [this.moved.edit] : [],
  });

  connect(address: string): void {
    this.address = fromHash(location.hash);
    this.recall();
    addEventListener("popstate", () => {
      this.address = fromHash(location.hash);
      this.followed = new FollowedSelection();
      this.recall();
      this.follow();
    });
    this.connection = new Connection(address, {
      open: () => {
        this.status = "open";
        this.turnedAway = false;
        this.follow();
        for (const channel of this.channels.values()) channel.again();
        this.recall();
      },
      tooLong: (message, words) => {
        const asked = message.do === "show" ? this.channels.get(message.channel) : null;
        if (asked) asked.receive({ event: "error", channel: asked.number, kind: "UsageError", message: words });
        else this.say(words, "bad");
      },
      lost: (_, ever) => {
        this.status = "lost";
        this.turnedAway = !ever;
        for (const answer of this.waiting.values())
          answer({ event: "command", id: 0, ok: false, message: "the connection was lost before an answer came" });
        this.waiting.clear();
      },
      message: (message) => this.receive(message),
      picture: (number, sequence, bytes, start) => this.channels.get(number)?.frame(sequence, bytes, start),
    });
  }

  reconnect(): void {
    this.connection?.hurry();
  }

  private receive(message: FromServer): void {
    switch (message.event) {
      case "preparing":
        this.preparing = message;
        break;
      case "hello":
        this.hello = message;
        this.renew(message.runs);
        this.follow();
        break;
      case "runs":
        this.renew(message.runs);
        break;
      case "run": {
        const lived = this.states[message.run]?.alive ?? false;
        this.states = { ...this.states, [message.run]: message.state };
        if (message.run === this.run) this.track();
        if (lived && message.run === this.run) this.inherit(message.state.heir);
        break;
      }
      case "command":
      case "kept":
      case "recalled":
        this.waiting.get(message.id)?.(message);
        this.waiting.delete(message.id);
        break;
      case "error":
        if (message.channel !== null) this.channels.get(message.channel)?.receive(message);
        else if (!this.runs.find((run) => run.name === message.run)?.error) this.say(message.message, "bad");
        break;
      default:
        this.channels.get(message.channel)?.receive(message);
    }
  }

  private send(message: ToServer): boolean {
    return this.connection?.send(message) ?? false;
  }

  private follow(): void {
    const others = othersOf(this.situation).map((other) => other.run);
    for (const run of new Set([...others, this.run])) if (run) this.send({ do: "follow", run });
  }

  private ask(build: (id: number) => ToServer): Promise<FromServer> {
    const id = ++this.ids;
    return new Promise((resolve) => {
      this.waiting.set(id, resolve);
      if (this.send(build(id))) return;
      this.waiting.delete(id);
      resolve({ event: "command", id, ok: false, message: "there is no connection to the server; it is being sought" });
    });
  }

  // --- channels -----------------------------------------------------------------------------------------------------

  channel(): Channel {
    const channel = new Channel({
      show: (number, request) => this.send({ do: "show", channel: number, request }),
      hide: (number) => void this.send({ do: "hide", channel: number }),
      ack: (number, sequence) => void this.send({ do: "ack", channel: number, sequence }),
      cancel: (number) => void this.send({ do: "cancel", channel: number }),
    });
    this.channels.set(channel.number, channel);
    return channel;
  }

  drop(channel: Channel): void {
    channel.stop();
    this.channels.delete(channel.number);
  }

  remember(view: string, picture: Picture): void {
    if (picture.final) this.lastPictures.set(`${this.run}/${view}`, picture);
  }

  /** A picture of the live end shows a step that the training has reached: the slider stands no earlier. */
  reached(run: string, picture: Picture): void {
    const state = this.states[run];
    if (state?.alive && picture.step !== null && picture.step > state.last) this.states = { ...this.states, [run]: { ...state, last: picture.step } };
  }

  /** Whether every view on show has its picture. */
  get settled(): boolean {
    return [...this.channels.values()].every((channel) => channel.settled);
  }

  /** Whether any view that looks at the person's input has its picture: a stream of inputs goes as fast as the fastest of them. */
  get someSettled(): boolean {
    const asking = [...this.channels.values()].filter((channel) => channel.asking);
    return !asking.length || asking.some((channel) => channel.settled);
  }

  // --- the address --------------------------------------------------------------------------------------------------

  /** Go somewhere. Places worth returning to make an entry in the browser's history. */
  go(change: Partial<Address>, { remember = false, moving = false } = {}): void {
    const kept = "selection" in change ? "" : this.address.kept;
    this.address = { ...this.address, ...change, kept };
    this.track("selection" in change);
    if ("selection" in change) void this.keep();
    if (!moving) this.write(remember);
    else if (!this.spelling)
      this.spelling = window.setTimeout(() => {
        this.spelling = 0;
        this.write();
      }, SPELLING);
  }

  /** What is selected follows its units to where they lie at the step in sight. */
  private track(chosen = false): void {
    const selection = this.state && this.followed.turn(this.address.selection, birthsAt(this.state.moves ?? [], this.step), chosen);
    if (!selection) return;
    this.address = { ...this.address, selection };
    this.write();
  }

  private write(remember = false): void {
    const hash = "#" + toHash(this.address);
    if (hash === location.hash || (hash === "#" && !location.hash)) return;
    if (remember) history.pushState(null, "", hash);
    else history.replaceState(null, "", hash);
  }

  /** The address of another place in the page, keeping run, step and selection. */
  link(change: Partial<Address>): string {
    return "#" + toHash({ ...this.address, view: "", ...change });
  }

  private async keep(): Promise<void> {
    const text = selectionText(this.address.selection);
    if (text.length <= LONG) return;
    const answer = await this.ask((id) => ({ do: "keep", id, text }));
    if (answer.event !== "kept" || selectionText(this.address.selection) !== text) return;
    this.address = { ...this.address, kept: answer.name };
    this.write();
  }

  /** Fetch the long selection that the address names. */
  private async recall(): Promise<void> {
    const name = this.address.kept;
    if (!name || selectionText(this.address.selection)) return;
    const answer = await this.ask((id) => ({ do: "recall", id, name }));
    if (answer.event !== "recalled" || this.address.kept !== name) return;
    this.address = { ...this.address, selection: fromHash(`select=${encodeURIComponent(answer.text)}`).selection };
  }

  openRun(name: string): void {
    this.go({ run: name, step: "", selection: { a: [], b: [] } }, { remember: true });
    this.input = null;
    this.time.playing = false;
    this.follow();
  }

  /** Other runs train than before: a run that trains on stays in sight, and so does any of which a view, a moment or a part was chosen. */
  private renew(runs: RunEntry[]): void {
    const before = this.run;
    const same = runs.length === this.runs.length && runs.every((run, k) => run.name === this.runs[k]!.name);
    this.runs = runs;
    const { view, step, selection } = this.address;
    const busy = view !== "" || step !== "" || selection.a.length > 0 || selection.b.length > 0;
    const alive = runs.find((run) => run.name === before)?.alive;
    const left = before !== this.run && runs.some((run) => run.name === before);
    if (left && (busy || alive || !this.entry?.alive)) this.go({ run: before });
    if (!same || this.run !== before) this.follow();
    this.meet();
  }

  /** The training that is followed went back: it is followed into the run in which it goes on, with all that is chosen. */
  private inherit(heir: string | null): void {
    if (!heir) return;
    this.go({ run: heir, step: "" }, { remember: true });
    this.follow();
  }

  /** Compare with other runs and steps, any number of them; a step left empty is the one of the run in sight, of that run itself the newest. */
  compare(others: { run: string; step: string }[]): void {
    const b = this.address.selection.b.filter((key) => !["run", "step"].includes(kindOf(key)));
    for (const other of others) {
      b.push(keyText({ kind: "run", name: other.run, index: [], place: [] }));
      if (other.step) b.push(`step:${Number(other.step)}`);
    }
    // What is compared with another one is named too: an address that leaves it open means whatever trains when it is opened.
    this.go({ run: others.length ? this.run : this.address.run, selection: { a: this.address.selection.a, b } });
    this.follow();
  }

  /** Compare with one more run, at the same step, and show both side by side. */
  private compareAlso(run: string): void {
    const others = othersOf(this.situation).filter((other) => other.run !== run);
    this.compare([...others.map((other) => ({ run: other.run, step: other.step === null ? "" : String(other.step) })), { run, step: "" }]);
    const room = this.rooms.find((each) => each.training.some((place) => place.view === BESIDE));
    if (room) this.go({ room: room.name, view: BESIDE, mode: "" }, { remember: true });
  }

  openRoom(name: string): void {
    this.go({ room: name, view: "" }, { remember: true });
  }

  enlarge(slot: string): void {
    this.go({ view: slot }, { remember: true });
  }

  setKnob(slot: string, name: string, value: KnobValue, moving = false): void {
    const knobs = { ...this.address.knobs, [slot]: { ...this.address.knobs[slot], [name]: knobText(value) } };
    this.go({ knobs }, { moving });
  }

  /** All views look at the weights as they are again. */
  moveBack(): void {
    if (!this.moved) return;
    const { slot, place } = this.moved;
    const { [place]: _, ...rest } = this.address.knobs[slot]!;
    this.go({ knobs: { ...this.address.knobs, [slot]: rest } });
  }

  resetKnobs(slot: string): void {
    const { [slot]: _, ...knobs } = this.address.knobs;
    this.go({ knobs });
  }

  // --- the selection ------------------------------------------------------------------------------------------------

  /** Choose keys: "one" instead of the others of their kind, "toggle" one more or one less, "range" these too, "against" into set B. */
  select(keys: string[], how: How = "one"): void {
    const clean = keys.map((key) => parseKey(key)).filter((key) => key !== null).map(keyText);
    if (!clean.length) return;
    if (how === "against" || how === "against too") return this.selectAgainst(clean, how === "against too");
    const taken = this.taker && clean.length === 1 ? parseKey(clean[0]!) : null;
    if (taken?.kind === "example") return this.taker!(taken.index[0]!);
    const steps = clean.filter((key) => kindOf(key) === "step");
    if (steps.length === clean.length && how === "one") return this.time.goTo(Number(clean.at(-1)!.slice(5)));
    let a = [...this.address.selection.a];
    const kinds = new Set(clean.map(kindOf));
    if (how === "toggle") {
      for (const key of clean) a = a.includes(key) ? a.filter((other) => other !== key) : [...a, key];
    } else if (how === "range") {
      a = [...a.filter((key) => !clean.includes(key)), ...clean];
    } else {
      const before = a.filter((key) => kinds.has(kindOf(key))).join();
      a = a.filter((key) => !kinds.has(kindOf(key)));
      // A second click on what is chosen lets it go.
      if (before !== clean.join()) a.push(...clean);
    }
    if (kinds.has("example")) this.input = null;
    this.go({ selection: { a, b: this.address.selection.b } });
  }

  /** Choose keys to compare with, instead of the others of their kind or beside them; a second time lets them go. A run or step has its own place. */
  private selectAgainst(keys: string[], more: boolean): void {
    const mine = keys.filter((key) => !ASIDE.includes(kindOf(key)));
    if (!mine.length) return;
    const kinds = new Set(mine.map(kindOf));
    const { a, b } = this.address.selection;
    const before = b.filter((key) => kinds.has(kindOf(key))).join();
    if (more) {
      const kept = b.filter((key) => !mine.includes(key));
      return this.go({ selection: { a, b: [...kept, ...mine.filter((key) => !b.includes(key))] } });
    }
    const rest = b.filter((key) => !kinds.has(kindOf(key)));
    this.go({ selection: { a, b: before === mine.join() ? rest : [...rest, ...mine] } });
  }

  /** What is compared with, in set B; the second run and step stand there too, and are chosen elsewhere. */
  readonly against = $derived(this.address.selection.b.filter((key) => !ASIDE.includes(kindOf(key))));

  clearSelection(): void {
    const b = this.address.selection.b.filter((key) => ASIDE.includes(kindOf(key)));
    this.go({ selection: { a: [], b } });
  }

  /** The pointer is on something, or on nothing more. */
  hover(key: string | null): void {
    this.hovered = key;
    clearTimeout(this.resting);
    const wanted = key && [...this.views.values()].some((view) => view.hovers?.includes(kindOf(key))) ? key : null;
    if (wanted === this.tried) return;
    this.resting = window.setTimeout(() => (this.tried = wanted), wanted ? RESTS : LEAVES);
  }

  /** Where a view stands: as everything does, or as if what the pointer rests on were chosen. */
  situationOf(view: View): Situation {
    const key = this.tried;
    if (!key || !view.hovers?.includes(kindOf(key))) return this.situation;
    const { a, b } = this.situation.selection;
    return { ...this.situation, selection: { a: [...a.filter((other) => kindOf(other) !== kindOf(key)), key], b } };
  }

  chosen(kind: string, selection: Selection = this.address.selection): string | null {
    return selection.a.findLast((key) => kindOf(key) === kind) ?? null;
  }

  setInput(input: RawInput | null): void {
    this.input = input;
  }

  /** The number of the example that is looked at, or was before a person made an input. */
  get example(): number {
    return Number(/\d+/.exec(this.chosen("example") ?? "example:0")![0]);
  }

  /** What a person made of a part of the input, by its name; "" where the network takes one. */
  made(name: string): Part | null {
    return madeOf(this.input, name);
  }

  /** Take what a tool made of a part; null gives it back to the example. */
  make(name: string, part: Part | null): void {
    this.setInput(withPart(this.input, name, part, this.example));
  }

  // --- touching -----------------------------------------------------------------------------------------------------

  /** Send a command to the training, and say what became of it; where it is not clear what is meant, ask first. */
  async command(name: string, knobs: Record<string, KnobValue> = {}): Promise<boolean> {
    this.question = questionOf(this.state, name, knobs);
    return this.question === null && this.commandNow(name, knobs);
  }

  /** Send it without a question. */
  async commandNow(name: string, knobs: Record<string, KnobValue>): Promise<boolean> {
    const run = this.run;
    const starting = name === "branch" || name === "twin" ? this.messages.say("a training is being started …", "plain", true) : null;
    const answer = await this.ask((id) => ({ do: "command", id, run, name, knobs }));
    if (starting !== null) this.messages.unsay(starting);
    if (answer.event !== "command") return false;
    this.say(answer.message, answer.ok ? "plain" : "bad");
    if (answer.ok && answer.run) this.coming = { beside: run, run: answer.run };
    this.meet();
    return answer.ok;
  }

  /** A run that was started from the one in sight stands beside it once it has begun, however long that takes. */
  private meet(): void {
    const coming = this.coming;
    if (!coming || !this.runs.some((run) => run.name === coming.run)) return;
    this.coming = null;
    if (this.run === coming.beside) this.compareAlso(coming.run);
  }

  say(text: string, tone: Message["tone"] = "plain"): void {
    this.messages.say(text, tone);
  }

  /** Why a view cannot be shown here, or null. */
  unfit(view: View): string | null {
    if (this.state?.pairs?.includes(view.name) && othersOf(this.situation).length) return null;
    return this.state?.fits?.[view.name] ?? null;
  }
}

export const page = new Page();
