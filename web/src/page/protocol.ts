/** What server and page say to each other over the socket: JSON both ways, pictures in binary. */

export type KnobKind =
  | "number" | "integer" | "flag" | "choice" | "text"
  | "layer" | "unit" | "class" | "column" | "example" | "signal" | "series" | "step" | "run" | "cell";

export type KnobValue = string | number | boolean | null;

export interface Knob {
  name: string;
  kind: KnobKind;
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

/** A plug-in as plain data. */
export interface Described {
  name: string;
  title: string;
  sentence: string;
  knobs: Knob[];
}

export interface View extends Described {
  room: string;
  question: string;
  family: string;
  papers: string[];
  rows: string[];
  needs: "model" | "record" | "snapshot";
  follows: string[];
  /** The kinds of keys that it tries out while the pointer rests on one. */
  hovers?: string[];
  input: boolean;
  panel: "" | "map" | "inspector" | "answer" | "probe";
  demo: string;
  example: Record<string, KnobValue>;
}

/** Anything else the catalogue lists. */
export interface Method extends Described {
  family?: string;
  papers?: string[];
  rows?: string[];
  demo?: string;
  /** The view that shows it, by its knob `method`. */
  view?: string;
}

export interface Place {
  view: string;
  columns: number;
  rows: number;
  knobs: Record<string, KnobValue>;
}

export type Mode = "training" | "input";

/** The views on which a room opens where all words of `when` hold of the run. */
export interface Opening {
  when: string[];
  training: Place[];
  input: Place[];
}

export interface Room {
  name: string;
  title: string;
  question: string;
  training: Place[];
  input: Place[];
  openings?: Opening[];
}

export interface RunEntry {
  name: string;
  steps: number;
  alive: boolean;
  title: string;
}

export interface Hello {
  version: string;
  runs: RunEntry[];
  rooms: Room[];
  views: View[];
  commands: Described[];
  methods: Method[];
  demos: Described[];
  glossary: Record<string, string>;
}

export interface RunEvent {
  step: number;
  kind: string;
  name: string;
  text: string;
}

export interface InputKind {
  kind?: string;
  height?: number;
  width?: number;
  channels?: number;
  draw?: boolean;
  /** What the model receives for black and for white, over all channels. */
  receives?: [number, number];
  columns?: string[];
  vocabulary?: number;
  length?: number;
  sentence?: string;
}

export interface LayerEntry {
  name: string;
  units: number;
  kind: string;
  shape: number[];
}

export interface OptimizerGroup {
  group: number;
  learning_rate?: number;
  factor?: number;
  [name: string]: number | undefined;
}

export interface RunState {
  first: number;
  last: number;
  snapshots: number[];
  alive: boolean;
  paused: boolean;
  events: RunEvent[];
  dropped: number;
  optimizer: OptimizerGroup[];
  classes: string[];
  task: string;
  input: InputKind | null;
  /** What data, task and network are, in words that rooms know. */
  nature?: string[];
  examples: number;
  layers: LayerEntry[];
  series: string[];
  histograms: string[];
  model: string | null;
  fits: Record<string, string | null>;
  /** Whether layers and fitting views are known yet: a worker finds them. */
  known?: boolean;
  seconds_a_step: number | null;
}

/** An input that is not from the probe set, as the tray makes it. */
export type RawInput =
  | { kind: "drawing"; width: number; height: number; pixels: string }
  | { kind: "image"; width: number; height: number; pixels: string }
  | { kind: "pixels"; width: number; height: number; channels: 1 | 3; pixels: string; example?: number }
  | { kind: "text"; text: string }
  | { kind: "row"; values: number[] };

/** A request is complete in itself: it can be cached, repeated and sent as an address. */
export interface Request {
  run: string;
  step: number | "live" | null;
  other: { run: string; step: number | null } | null;
  view: string;
  knobs: Record<string, KnobValue>;
  selection: string;
  edits: unknown[];
  input: RawInput | null;
}

export type ToServer =
  | { do: "follow"; run: string }
  | { do: "show"; channel: number; request: Request }
  | { do: "hide"; channel: number }
  | { do: "ack"; channel: number; sequence: number }
  | { do: "cancel"; channel: number }
  | { do: "command"; id: number; run: string; name: string; knobs: Record<string, KnobValue> }
  | { do: "keep"; id: number; text: string }
  | { do: "recall"; id: number; name: string };

export type FromServer =
  | { event: "preparing"; done: number; total: number; note: string }
  | ({ event: "hello" } & Hello)
  | { event: "run"; run: string; state: RunState }
  | { event: "runs"; runs: RunEntry[] }
  | { event: "progress"; channel: number; done: number; total: number; note?: string; seconds?: number | null }
  | { event: "busy"; channel: number }
  | { event: "done"; channel: number; seconds: number }
  | { event: "error"; channel: number | null; kind: string; message: string }
  | { event: "command"; id: number; ok: boolean; message: string }
  | { event: "kept"; id: number; name: string }
  | { event: "recalled"; id: number; text: string };
