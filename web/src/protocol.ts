// Made by `python -m diorama.core.typescript`; not edited by hand.

export type KnobValue = string | number | boolean | null;

/** Tell me the state of this run whenever it changes. */
export interface Follow {
  do: "follow";
  run: string;
}

/** Show this on a channel, and go on showing it. */
export interface Show {
  do: "show";
  channel: number;
  request: Request;
}

/** One view of one run at one step, perhaps compared with others, with an input of the person's own. */
export interface Request {
  run: string;
  view: string;
  step: number | "live" | null;
  other: ComparedMoment[] | ComparedMoment | null;
  knobs: Record<string, KnobValue>;
  selection: string;
  edits?: (Record<string, unknown>)[];
  input: RawInput | null;
}

/** A run at a step, which another one is compared with. */
export interface ComparedMoment {
  run: string;
  step: number | "live" | null;
}

/** Close a channel. */
export interface Hide {
  do: "hide";
  channel: number;
}

/** A frame is on the screen: the next one may come. */
export interface Ack {
  do: "ack";
  channel: number;
  sequence: number;
}

/** Stop the work of a channel; what it shows stays. */
export interface Cancel {
  do: "cancel";
  channel: number;
}

/** Send a command to a training. */
export interface Command {
  do: "command";
  id: number;
  run: string;
  name: string;
  knobs: Record<string, KnobValue>;
}

/** Keep a long selection. */
export interface Keep {
  do: "keep";
  id: number;
  text: string;
}

/** Say the selection that was kept under a name. */
export interface Recall {
  do: "recall";
  id: number;
  name: string;
}

/** On the very first start: what the server is busy with before it can greet. */
export interface Preparing {
  event: "preparing";
  done: number;
  total: number;
  note: string;
}

/** The greeting: what there is to see. */
export interface Hello {
  event: "hello";
  version: string;
  runs: RunEntry[];
  rooms: Room[];
  views: View[];
  commands: CommandEntry[];
  methods: Method[];
  demos: Described[];
  savers: Described[];
  glossary: Record<string, string>;
  broken: string[];
}

/** A run in the list of runs: how far it came, what is ``wrong`` with it; ``error`` says why it cannot be opened. */
export interface RunEntry {
  name: string;
  steps: number;
  alive: boolean;
  title: string;
  score?: string;
  wrong?: string;
  error?: string;
  parent?: string;
  left: number;
}

/** A room of the page, arranged for a training and for an input. */
export interface Room {
  name: string;
  title: string;
  question: string;
  training: Place[];
  input: Place[];
  openings: Opening[];
}

/** Where a view stands in a room. */
export interface Place {
  view: string;
  columns: number;
  rows: number;
  knobs: Record<string, KnobValue>;
}

/** The views on which a room opens where all words of ``when`` hold of the run. */
export interface Opening {
  when: string[];
  training: Place[];
  input: Place[];
}

/** A view, and what the page must know of it. */
export interface View {
  name: string;
  title: string;
  sentence: string;
  knobs: Knob[];
  room: string;
  question: string;
  family: string;
  papers: string[];
  rows: string[];
  needs: string;
  follows: string[];
  hovers: string[];
  moves: string[];
  input: boolean;
  panel: string;
  demo: string;
  example: Record<string, KnobValue>;
}

/** One declared parameter, as the page, the command line and the docs see it. */
export interface Knob {
  name: string;
  kind: "cell" | "choice" | "class" | "column" | "example" | "examples" | "flag" | "integer" | "labels" | "layer" | "number" | "numbers" | "run" | "series" | "signal" | "span" | "step" | "text" | "unit" | "units";
  default: KnobValue;
  help: string;
  low: number | null;
  high: number | null;
  choices: string[];
  unit: string;
  log: boolean;
  main: boolean;
  optional: boolean;
}

/** A command to a training: among which ones it is listed, and whether what it would change can be shown beforehand. */
export interface CommandEntry {
  name: string;
  title: string;
  sentence: string;
  knobs: Knob[];
  family: string;
  previewed: boolean;
}

/** An attribution method; ``view`` shows it, by its knob ``method``. */
export interface Method {
  name: string;
  title: string;
  sentence: string;
  knobs: Knob[];
  papers: string[];
  rows: string[];
  demo: string | null;
  view: string | null;
}

/** A plug-in as plain data. */
export interface Described {
  name: string;
  title: string;
  sentence: string;
  knobs: Knob[];
}

/** The state of a followed run. */
export interface RunTold {
  event: "run";
  run: string;
  state: RunState;
}

/** Everything that the page must know of a run at this moment. */
export interface RunState {
  first: number;
  last: number;
  snapshots: number[];
  alive: boolean;
  paused: boolean;
  events: RunEvent[];
  dropped: number;
  optimizer: ({ group: number; learning_rate?: number; [name: string]: number | undefined })[];
  classes: string[];
  task: string;
  input: InputKind | null;
  nature: string[];
  examples: number;
  layers: LayerEntry[];
  series: string[];
  histograms: string[];
  model: string | null;
  fits: Record<string, string | null>;
  known: boolean;
  seconds_a_step: number | null;
  properties: string[];
  checkpoints: number[];
  heir: string | null;
  steered: SteeredData | null;
  pairs: string[];
  way: Way | null;
  acts: ActEntry[];
  rules: RuleEntry[];
  bend: BendEntry | null;
  frozen: string[];
  moves: MovesEntry[];
}

/** A moment on the time axis. */
export interface RunEvent {
  step: number;
  kind: string;
  name: string;
  text: string;
}

/** What the network takes, as the tray must know it. */
export interface InputKind {
  kind?: string;
  sentence?: string;
  height?: number | null;
  width?: number | null;
  channels?: number | null;
  draw?: boolean;
  receives?: [number, number];
  columns?: string[] | null;
  vocabulary?: number | null;
  length?: number | null;
  separator?: string | null;
  typed?: boolean;
  beside?: boolean;
  parts?: Record<string, InputKind>;
}

/** A layer of the run's network. */
export interface LayerEntry {
  name: string;
  units: number;
  kind: string;
  shape: number[];
}

/** The training's data as people change them: how many examples there are, how many are changed, and how many of the probe set are among them. */
export interface SteeredData {
  examples: number;
  dropped: number;
  relabelled: number;
  weighed: number;
  probe: number;
  matched: number;
  labels: string;
}

/** How a training is started again from a checkpoint: at once, or after consent to its line; or why it cannot be. */
export interface Way {
  line: string;
  folder: string;
  at_once: boolean;
  refused: string;
}

/** A command that changed the training; ``checkpoint``: one from before it is there, so that it can be left out or gone back before. */
export interface ActEntry {
  command: number;
  step: number;
  name: string;
  text: string;
  state: string;
  plain: boolean;
  checkpoint: boolean;
  run: string;
  blocked: string;
}

/** A rule in force, how often it came true, and at which step last. */
export interface RuleEntry {
  rule: number;
  text: string;
  fired: number;
  last: number | null;
}

/** Factors on the learning rate at steps counted from ``start``. */
export interface BendEntry {
  start: number;
  steps: number[];
  factors: number[];
}

/** Where units lie from a snapshot on: the numbers that they were born with, as the first of each run and how many. */
export interface MovesEntry {
  since: number;
  births: Record<string, ([number, number])[]>;
}

/** The list of runs has changed. */
export interface Runs {
  event: "runs";
  runs: RunEntry[];
}

/** How far a look is; ``seconds`` are left, where that is known. */
export interface Progressed {
  event: "progress";
  channel: number;
  done: number;
  total: number;
  note: string;
  seconds: number | null;
}

/** A look has begun. */
export interface Busy {
  event: "busy";
  channel: number;
}

/** A look has given its last picture, or was cancelled. */
export interface Done {
  event: "done";
  channel: number;
  seconds: number;
  cancelled: boolean;
}

/** Something could not be done: on a channel, for a question, or for a run. */
export interface Failed {
  event: "error";
  channel: number | null;
  kind: string;
  message: string;
  id?: number;
  run?: string;
}

/** What became of a command. */
export interface Answered {
  event: "command";
  id: number;
  ok: boolean;
  message: string;
  run?: string;
}

/** The short name of a kept selection. */
export interface Kept {
  event: "kept";
  id: number;
  name: string;
}

/** A kept selection. */
export interface Recalled {
  event: "recalled";
  id: number;
  text: string;
}

/** Light strokes on black. */
export interface DrawingInput {
  kind: "drawing";
  width: number;
  height: number;
  pixels: string;
}

/** A picture in three colours. */
export interface ImageInput {
  kind: "image";
  width: number;
  height: number;
  pixels: string;
}

/** Exact pixels of the data's own size, perhaps made out of an example. */
export interface PixelsInput {
  kind: "pixels";
  width: number;
  height: number;
  channels: 1 | 3;
  pixels: string;
  example?: number;
}

/** A text. */
export interface TextInput {
  kind: "text";
  text: string;
}

/** The numbers of a table's row. */
export interface RowInput {
  kind: "row";
  values: number[];
}

/** Some parts of an input of several, by name; the others are those of an example. */
export interface PartsInput {
  kind: "parts";
  parts: Record<string, DrawingInput | ImageInput | PixelsInput | TextInput | RowInput>;
  example: number;
}

export type RawInput = DrawingInput | ImageInput | PixelsInput | TextInput | RowInput | PartsInput;

export type ToServer = Follow | Show | Hide | Ack | Cancel | Command | Keep | Recall;

export type FromServer = Preparing | Hello | RunTold | Runs | Progressed | Busy | Done | Failed | Answered | Kept | Recalled;

/** How long page and server wait, in milliseconds; `rest` is a factor. */

export const PATIENCE = {"first": 1500, "refining": 300, "progress": 100, "live": 500, "quick": 100, "rest": 2.0, "beat": 250, "search": 1000, "answer": 30000, "reconnect": 5000, "door": 10000, "taking": 30000, "serving": 10000, "list": 3000} as const;

/** Bytes of one message to the server at most: a longer one ends the connection. */

export const LONGEST_MESSAGE = 24000000;

/** Characters of a text that is looked at. */

export const LONGEST_TEXT = 50000;
