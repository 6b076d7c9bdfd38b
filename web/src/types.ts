// Made by `python -m diorama.core.typescript`; not edited by hand.

export type Numbers =
  Float32Array | Float64Array | Int8Array | Uint8Array | Int16Array | Uint16Array | Int32Array | Uint32Array;

/** An array as Python sent it: rows first. */
export interface NdArray {
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly data: Numbers;
}

/** What a view yields. ``final`` is False while refinements follow; ``note`` says what is missing or unusual; ``hint`` what can be done with it in the page, and stands there alone; ``idle`` names knobs that change nothing as the others stand, and choices of one that do not apply (``knob=choice``), each with a sentence why; ``places`` tells of a map that follows a training at which step its points stand, which is an earlier one until that of this step is there. */
export interface Picture {
  readonly title: string;
  readonly body: Node;
  readonly caption: string;
  readonly provenance: Provenance | null;
  readonly checks: readonly Check[];
  readonly note: string;
  readonly hint: string;
  readonly step: number | null;
  readonly final: boolean;
  readonly idle: Readonly<Record<string, string>>;
  readonly places: MapPlaces | null;
}

/** One bar a label; negative values go the other way. */
export interface Bars {
  readonly mark: "bars";
  readonly title: string;
  readonly caption: string;
  readonly handle: Handle | null;
  readonly doubted: boolean;
  readonly values: NdArray;
  readonly labels: readonly string[];
  readonly keys: readonly string[];
  readonly colours: readonly number[];
  readonly reference: NdArray | null;
  readonly notes: readonly string[];
  readonly limits: Limits | null;
  readonly unit: string;
  readonly strong: number | null;
  readonly horizontal: boolean;
}

/** What dragging or typing sets: the knob's name, how it is moved, and its range. */
export interface Handle {
  readonly knob: string;
  readonly kind: "path" | "point" | "range" | "slide" | "strokes" | "type";
  readonly low: number;
  readonly high: number;
  readonly value: string;
  readonly whole: boolean;
}

/** The range that a colour scale spans, its kind, and how many values it cannot show. */
export interface Limits {
  readonly low: number;
  readonly high: number;
  readonly scale: "diverging" | "grey" | "magnitude" | "probability";
  readonly nan: number;
  readonly infinite: number;
  readonly clipped: number;
  readonly unit: string;
}

/** A nested graph of blocks. Opening or closing a block sets the knob named by ``handle`` to the list of open blocks. */
export interface Blocks {
  readonly mark: "blocks";
  readonly title: string;
  readonly caption: string;
  readonly handle: Handle | null;
  readonly doubted: boolean;
  readonly blocks: readonly Block[];
  readonly edges: readonly Edge[];
  readonly limits: Limits | null;
  readonly layout: "graph" | "list";
  readonly value_title: string;
  readonly extent: readonly [number, number];
  readonly places: NdArray | null;
  readonly routes: NdArray | null;
  readonly points: NdArray | null;
}

/** A node of a nested graph. */
export interface Block {
  readonly id: string;
  readonly label: string;
  readonly parent: string;
  readonly kind: string;
  readonly detail: string;
  readonly notes: readonly string[];
  readonly key: string;
  readonly value: number | null;
  readonly maps: NdArray | null;
  readonly maps_limits: Limits | null;
  readonly spark: NdArray | null;
  readonly warning: string;
  readonly share: number | null;
  readonly expandable: boolean;
  readonly open: boolean;
}

/** A connection between two blocks, named by what flows. */
export interface Edge {
  readonly source: string;
  readonly target: string;
  readonly label: string;
  readonly share: number | null;
}

/** A plane of outputs with points on it. */
export interface Field {
  readonly mark: "field";
  readonly title: string;
  readonly caption: string;
  readonly handle: Handle | null;
  readonly doubted: boolean;
  readonly values: NdArray;
  readonly extent: readonly [number, number, number, number];
  readonly limits: Limits | null;
  readonly classes: readonly string[];
  readonly points: NdArray | null;
  readonly point_values: NdArray | null;
  readonly point_keys: readonly string[];
  readonly wrong: NdArray | null;
  readonly small: boolean;
  readonly joined: boolean;
  readonly outline: NdArray | null;
  readonly faded: boolean;
  readonly x_title: string;
  readonly y_title: string;
  readonly size: number;
}

/** Marks side by side, one below the other, or in a wrapping grid. */
export interface Group {
  readonly mark: "group";
  readonly title: string;
  readonly caption: string;
  readonly handle: Handle | null;
  readonly doubted: boolean;
  readonly children: readonly Node[];
  readonly direction: "column" | "grid" | "row";
}

/** A labelled matrix: confusion, neuron by class, a dense layer's activations (one row). */
export interface Heatmap {
  readonly mark: "heatmap";
  readonly title: string;
  readonly caption: string;
  readonly handle: Handle | null;
  readonly doubted: boolean;
  readonly values: NdArray;
  readonly limits: Limits;
  readonly row_labels: readonly string[];
  readonly column_labels: readonly string[];
  readonly row_keys: readonly string[];
  readonly column_keys: readonly string[];
  readonly cell_keys: readonly string[];
  readonly cell_texts: readonly string[];
  readonly row_title: string;
  readonly column_title: string;
  readonly numbers: boolean;
  readonly square: boolean;
  readonly size: number;
}

/** One picture, perhaps with heat over it. */
export interface Image {
  readonly mark: "image";
  readonly title: string;
  readonly caption: string;
  readonly handle: Handle | null;
  readonly doubted: boolean;
  readonly pixels: NdArray;
  readonly limits: Limits | null;
  readonly heat: NdArray | null;
  readonly heat_limits: Limits | null;
  readonly contour: number | null;
  readonly boxes: readonly Box[];
  readonly label: string;
  readonly key: string;
  readonly place_key: string;
  readonly patches: readonly [number, number] | null;
  readonly patch_keys: readonly string[];
  readonly meant: NdArray | null;
  readonly names: readonly string[];
  readonly size: number;
}

/** A rectangle over an image, in its pixels; ``x`` and ``y`` are the top left corner. */
export interface Box {
  readonly x: number;
  readonly y: number;
  readonly width: number;
  readonly height: number;
  readonly label: string;
  readonly key: string;
}

/** Series over steps, time or another number, with bands and events. */
export interface Lines {
  readonly mark: "lines";
  readonly title: string;
  readonly caption: string;
  readonly handle: Handle | null;
  readonly doubted: boolean;
  readonly series: readonly Series[];
  readonly x_title: string;
  readonly y_title: string;
  readonly x_kind: "number" | "step" | "time";
  readonly x_log: boolean;
  readonly y_log: boolean;
  readonly x_range: readonly [number, number] | null;
  readonly y_range: readonly [number, number] | null;
  readonly y_ticks: boolean;
  readonly events: readonly Event[];
  readonly cursor: number | null;
  readonly x_key: string;
  readonly height: number;
}

/** One line. ``low`` and ``high`` are its exact envelope or band. */
export interface Series {
  readonly name: string;
  readonly x: NdArray;
  readonly y: NdArray;
  readonly low: NdArray | null;
  readonly high: NdArray | null;
  readonly key: string;
  readonly colour: number;
  readonly dash: boolean;
  readonly faint: boolean;
  readonly band: boolean;
  readonly group: string;
}

/** A moment on the x axis: a command, a finding, a gap in the record. */
export interface Event {
  readonly x: number;
  readonly label: string;
  readonly kind: "command" | "finding" | "flip" | "gap";
  readonly end: number | null;
}

/** Nodes with pictures in them, joined by signed links: blue where positive, orange where negative, as thick as they are strong. */
export interface Network {
  readonly mark: "network";
  readonly title: string;
  readonly caption: string;
  readonly handle: Handle | null;
  readonly doubted: boolean;
  readonly vertices: readonly Vertex[];
  readonly places: NdArray;
  readonly links: NdArray;
  readonly strengths: NdArray;
  readonly strongest: number;
  readonly limits: Limits | null;
  readonly column_labels: readonly string[];
  readonly column_keys: readonly string[];
  readonly extent: readonly [number, number];
  readonly ends: NdArray | null;
}

/** A node: a ``box`` with a picture, a ``heading`` above others, a ``joint`` where links are bundled, or a ``dot``. */
export interface Vertex {
  readonly form: "box" | "dot" | "heading" | "joint";
  readonly label: string;
  readonly note: string;
  readonly told: string;
  readonly id: string;
  readonly keys: readonly string[];
  readonly pixels: NdArray | null;
  readonly words: readonly string[];
  readonly colour: number | null;
  readonly ink: string;
  readonly shares: readonly [number, number];
  readonly faded: boolean;
  readonly expandable: boolean;
  readonly open: boolean;
}

/** A number or a finding, with its unit, its warning and what can be done. */
export interface Number {
  readonly mark: "number";
  readonly title: string;
  readonly caption: string;
  readonly handle: Handle | null;
  readonly doubted: boolean;
  readonly label: string;
  readonly value: number | null;
  readonly unit: string;
  readonly tone: "bad" | "good" | "plain" | "warn";
  readonly note: string;
  readonly key: string;
  readonly actions: readonly Action[];
}

/** A command that a click sends to the training. */
export interface Action {
  readonly command: string;
  readonly label: string;
  readonly knobs: Readonly<Record<string, string | number | boolean>>;
}

/** Parallel coordinates: one upright axis a quantity, one line an item, broken where it has no number. */
export interface Parallel {
  readonly mark: "parallel";
  readonly title: string;
  readonly caption: string;
  readonly handle: Handle | null;
  readonly doubted: boolean;
  readonly values: NdArray;
  readonly axes: readonly string[];
  readonly labels: readonly string[];
  readonly keys: readonly string[];
  readonly colours: readonly number[];
  readonly spans: readonly (readonly [number, number])[];
  readonly height: number;
}

/** Distributions over steps; several sets share one axis. */
export interface Ridges {
  readonly mark: "ridges";
  readonly title: string;
  readonly caption: string;
  readonly handle: Handle | null;
  readonly doubted: boolean;
  readonly sets: readonly RidgeSet[];
  readonly x_title: string;
  readonly x_range: readonly [number, number] | null;
  readonly cursor: number | null;
  readonly height: number;
}

/** The distributions of one tensor in one run: one ridge a step. */
export interface RidgeSet {
  readonly name: string;
  readonly steps: NdArray;
  readonly edges: NdArray;
  readonly density: NdArray;
  readonly colour: number;
}

/** A melody as a roll: every note a bar over time, as high as its pitch. In a browser it can be heard. */
export interface Roll {
  readonly mark: "roll";
  readonly title: string;
  readonly caption: string;
  readonly handle: Handle | null;
  readonly doubted: boolean;
  readonly starts: NdArray;
  readonly lengths: NdArray;
  readonly pitches: NdArray;
  readonly beats: number;
  readonly tempo: number;
  readonly pitch_range: readonly [number, number] | null;
  readonly values: NdArray | null;
  readonly limits: Limits | null;
  readonly keys: readonly string[];
  readonly aloud: boolean;
  readonly height: number;
}

/** Points on a plane or in space: by class or number, as dots, small pictures or lines of text on a grid, or with contours of their density. */
export interface Scatter {
  readonly mark: "scatter";
  readonly title: string;
  readonly caption: string;
  readonly handle: Handle | null;
  readonly doubted: boolean;
  readonly points: NdArray;
  readonly values: NdArray | null;
  readonly limits: Limits | null;
  readonly classes: readonly string[];
  readonly keys: readonly string[];
  readonly kind: string;
  readonly labels: readonly string[];
  readonly wrong: NdArray | null;
  readonly faded: NdArray | null;
  readonly pale: string;
  readonly sizes: NdArray | null;
  readonly pictures: NdArray | null;
  readonly picture_limits: Limits | null;
  readonly trails: NdArray | null;
  readonly borders: NdArray | null;
  readonly arrows: NdArray | null;
  readonly arrow_labels: readonly string[];
  readonly middle: readonly number[];
  readonly drawn: "density" | "points" | "thumbnails";
  readonly spans: readonly (readonly [number, number])[];
  readonly crowd: NdArray | null;
  readonly size: number;
}

/** Rows that can be sorted by any column. */
export interface Table {
  readonly mark: "table";
  readonly title: string;
  readonly caption: string;
  readonly handle: Handle | null;
  readonly doubted: boolean;
  readonly columns: readonly Column[];
  readonly row_keys: readonly string[];
  readonly sort: string;
  readonly descending: boolean;
  readonly flagged: NdArray | null;
  readonly steps: NdArray | null;
  readonly cursor: number | null;
  readonly folds: readonly string[];
  readonly open: readonly string[];
  readonly boxes: boolean;
}

/** One column of a table: numbers, texts, small images, or numbers with their small histories. */
export interface Column {
  readonly name: string;
  readonly kind: "class" | "history" | "image" | "number" | "share" | "text";
  readonly numbers: NdArray | null;
  readonly texts: readonly string[];
  readonly images: NdArray | null;
  readonly limits: Limits | null;
  readonly unit: string;
  readonly signed: boolean;
  readonly histories: NdArray | null;
  readonly spreads: NdArray | null;
  readonly healthy: NdArray | null;
  readonly outside: NdArray | null;
  readonly log: boolean;
  readonly range: readonly [number, number] | null;
  readonly note: string;
}

/** Tokens, each coloured by a value, with likely alternatives under it. */
export interface Text {
  readonly mark: "text";
  readonly title: string;
  readonly caption: string;
  readonly handle: Handle | null;
  readonly doubted: boolean;
  readonly tokens: readonly string[];
  readonly values: NdArray | null;
  readonly limits: Limits | null;
  readonly alternatives: readonly (readonly Alternative[])[];
  readonly keys: readonly string[];
  readonly struck: NdArray | null;
  readonly characters: boolean;
}

/** What could have come here, and how likely. */
export interface Alternative {
  readonly text: string;
  readonly probability: number;
}

/** A grid of small pictures: weights, activation maps, examples. */
export interface Tiles {
  readonly mark: "tiles";
  readonly title: string;
  readonly caption: string;
  readonly handle: Handle | null;
  readonly doubted: boolean;
  readonly images: NdArray;
  readonly limits: Limits | null;
  readonly labels: readonly string[];
  readonly notes: readonly string[];
  readonly keys: readonly string[];
  readonly faded: NdArray | null;
  readonly badges: readonly string[];
  readonly boxes: readonly Box[];
  readonly columns: number | null;
  readonly size: number;
}

/** Everything needed to make a picture again. */
export interface Provenance {
  readonly method: string;
  readonly sentence: string;
  readonly knobs: Readonly<Record<string, unknown>>;
  readonly selection: string;
  readonly step: number | null;
  readonly run: string;
  readonly seed: number | null;
  readonly mode: string;
  readonly model: string;
  readonly source: string;
  readonly guessed: readonly string[];
  readonly versions: Readonly<Record<string, string>>;
  readonly maker: string;
  readonly edits: readonly string[];
}

/** A number that says how far to believe a picture, with one sentence on how to read it. */
export interface Check {
  readonly name: string;
  readonly value: number;
  readonly sentence: string;
  readonly unit: string;
  readonly good: boolean | null;
}

/** Where the points of a picture stand: ``of`` names the map, the same at all steps of a training; ``step`` is the one whose map it is. */
export interface MapPlaces {
  readonly of: string;
  readonly step: number;
}

/** What a view may yield between pictures: how far its work is; ``seconds`` is what is left, when known. */
export interface Progress {
  readonly done: number;
  readonly total: number;
  readonly note: string;
  readonly seconds: number | null;
}

export type Node = Bars | Blocks | Field | Group | Heatmap | Image | Lines | Network | Number | Parallel | Ridges | Roll | Scatter | Table | Text | Tiles;

export type KeyKind = "run" | "layer" | "direction" | "op" | "query" | "key" | "value" | "pattern" | "residual" | "unit" | "head" | "weight" | "example" | "class" | "step" | "token";

export const KEY_KINDS: readonly KeyKind[] = ["run", "layer", "direction", "op", "query", "key", "value", "pattern", "residual", "unit", "head", "weight", "example", "class", "step", "token"];

export interface Form {
  readonly defaults: Readonly<Record<string, unknown>>;
  readonly nested: Readonly<Record<string, string | null>>;
}

/** What fields hold when a header leaves them out, and which fields hold structs (null: one of the marks). */
export const STRUCTS: Readonly<Record<string, Form>> = {
 "Picture": {
  "defaults": {
   "caption": "",
   "provenance": null,
   "checks": [],
   "note": "",
   "hint": "",
   "step": null,
   "final": true,
   "idle": {},
   "places": null
  },
  "nested": {
   "body": null,
   "provenance": "Provenance",
   "checks": "Check",
   "places": "MapPlaces"
  }
 },
 "Bars": {
  "defaults": {
   "title": "",
   "caption": "",
   "handle": null,
   "doubted": false,
   "keys": [],
   "colours": [],
   "reference": null,
   "notes": [],
   "limits": null,
   "unit": "",
   "strong": null,
   "horizontal": true
  },
  "nested": {
   "handle": "Handle",
   "limits": "Limits"
  }
 },
 "Handle": {
  "defaults": {
   "low": 0.0,
   "high": 1.0,
   "value": "",
   "whole": false
  },
  "nested": {}
 },
 "Limits": {
  "defaults": {
   "scale": "magnitude",
   "nan": 0,
   "infinite": 0,
   "clipped": 0,
   "unit": ""
  },
  "nested": {}
 },
 "Blocks": {
  "defaults": {
   "title": "",
   "caption": "",
   "handle": null,
   "doubted": false,
   "edges": [],
   "limits": null,
   "layout": "graph",
   "value_title": "",
   "extent": [
    0.0,
    0.0
   ],
   "places": null,
   "routes": null,
   "points": null
  },
  "nested": {
   "handle": "Handle",
   "blocks": "Block",
   "edges": "Edge",
   "limits": "Limits"
  }
 },
 "Block": {
  "defaults": {
   "parent": "",
   "kind": "",
   "detail": "",
   "notes": [],
   "key": "",
   "value": null,
   "maps": null,
   "maps_limits": null,
   "spark": null,
   "warning": "",
   "share": null,
   "expandable": false,
   "open": false
  },
  "nested": {
   "maps_limits": "Limits"
  }
 },
 "Edge": {
  "defaults": {
   "label": "",
   "share": null
  },
  "nested": {}
 },
 "Field": {
  "defaults": {
   "title": "",
   "caption": "",
   "handle": null,
   "doubted": false,
   "limits": null,
   "classes": [],
   "points": null,
   "point_values": null,
   "point_keys": [],
   "wrong": null,
   "small": false,
   "joined": false,
   "outline": null,
   "faded": false,
   "x_title": "",
   "y_title": "",
   "size": 300
  },
  "nested": {
   "handle": "Handle",
   "limits": "Limits"
  }
 },
 "Group": {
  "defaults": {
   "title": "",
   "caption": "",
   "handle": null,
   "doubted": false,
   "direction": "column"
  },
  "nested": {
   "handle": "Handle",
   "children": null
  }
 },
 "Heatmap": {
  "defaults": {
   "title": "",
   "caption": "",
   "handle": null,
   "doubted": false,
   "row_labels": [],
   "column_labels": [],
   "row_keys": [],
   "column_keys": [],
   "cell_keys": [],
   "cell_texts": [],
   "row_title": "",
   "column_title": "",
   "numbers": false,
   "square": false,
   "size": 16
  },
  "nested": {
   "handle": "Handle",
   "limits": "Limits"
  }
 },
 "Image": {
  "defaults": {
   "title": "",
   "caption": "",
   "handle": null,
   "doubted": false,
   "limits": null,
   "heat": null,
   "heat_limits": null,
   "contour": null,
   "boxes": [],
   "label": "",
   "key": "",
   "place_key": "",
   "patches": null,
   "patch_keys": [],
   "meant": null,
   "names": [],
   "size": 96
  },
  "nested": {
   "handle": "Handle",
   "limits": "Limits",
   "heat_limits": "Limits",
   "boxes": "Box"
  }
 },
 "Box": {
  "defaults": {
   "label": "",
   "key": ""
  },
  "nested": {}
 },
 "Lines": {
  "defaults": {
   "title": "",
   "caption": "",
   "handle": null,
   "doubted": false,
   "x_title": "step",
   "y_title": "",
   "x_kind": "step",
   "x_log": false,
   "y_log": false,
   "x_range": null,
   "y_range": null,
   "y_ticks": true,
   "events": [],
   "cursor": null,
   "x_key": "",
   "height": 180
  },
  "nested": {
   "handle": "Handle",
   "series": "Series",
   "events": "Event"
  }
 },
 "Series": {
  "defaults": {
   "low": null,
   "high": null,
   "key": "",
   "colour": 0,
   "dash": false,
   "faint": false,
   "band": false,
   "group": ""
  },
  "nested": {}
 },
 "Event": {
  "defaults": {
   "kind": "command",
   "end": null
  },
  "nested": {}
 },
 "Network": {
  "defaults": {
   "title": "",
   "caption": "",
   "handle": null,
   "doubted": false,
   "strongest": 0.0,
   "limits": null,
   "column_labels": [],
   "column_keys": [],
   "extent": [
    0.0,
    0.0
   ],
   "ends": null
  },
  "nested": {
   "handle": "Handle",
   "vertices": "Vertex",
   "limits": "Limits"
  }
 },
 "Vertex": {
  "defaults": {
   "form": "box",
   "label": "",
   "note": "",
   "told": "",
   "id": "",
   "keys": [],
   "pixels": null,
   "words": [],
   "colour": null,
   "ink": "",
   "shares": [
    0.0,
    0.0
   ],
   "faded": false,
   "expandable": false,
   "open": false
  },
  "nested": {}
 },
 "Number": {
  "defaults": {
   "title": "",
   "caption": "",
   "handle": null,
   "doubted": false,
   "value": null,
   "unit": "",
   "tone": "plain",
   "note": "",
   "key": "",
   "actions": []
  },
  "nested": {
   "handle": "Handle",
   "actions": "Action"
  }
 },
 "Action": {
  "defaults": {
   "knobs": {}
  },
  "nested": {}
 },
 "Parallel": {
  "defaults": {
   "title": "",
   "caption": "",
   "handle": null,
   "doubted": false,
   "labels": [],
   "keys": [],
   "colours": [],
   "spans": [],
   "height": 180
  },
  "nested": {
   "handle": "Handle"
  }
 },
 "Ridges": {
  "defaults": {
   "title": "",
   "caption": "",
   "handle": null,
   "doubted": false,
   "x_title": "",
   "x_range": null,
   "cursor": null,
   "height": 200
  },
  "nested": {
   "handle": "Handle",
   "sets": "RidgeSet"
  }
 },
 "RidgeSet": {
  "defaults": {
   "colour": 0
  },
  "nested": {}
 },
 "Roll": {
  "defaults": {
   "title": "",
   "caption": "",
   "handle": null,
   "doubted": false,
   "tempo": 120.0,
   "pitch_range": null,
   "values": null,
   "limits": null,
   "keys": [],
   "aloud": false,
   "height": 96
  },
  "nested": {
   "handle": "Handle",
   "limits": "Limits"
  }
 },
 "Scatter": {
  "defaults": {
   "title": "",
   "caption": "",
   "handle": null,
   "doubted": false,
   "values": null,
   "limits": null,
   "classes": [],
   "keys": [],
   "kind": "",
   "labels": [],
   "wrong": null,
   "faded": null,
   "pale": "not to be trusted",
   "sizes": null,
   "pictures": null,
   "picture_limits": null,
   "trails": null,
   "borders": null,
   "arrows": null,
   "arrow_labels": [],
   "middle": [],
   "drawn": "points",
   "spans": [],
   "crowd": null,
   "size": 360
  },
  "nested": {
   "handle": "Handle",
   "limits": "Limits",
   "picture_limits": "Limits"
  }
 },
 "Table": {
  "defaults": {
   "title": "",
   "caption": "",
   "handle": null,
   "doubted": false,
   "row_keys": [],
   "sort": "",
   "descending": false,
   "flagged": null,
   "steps": null,
   "cursor": null,
   "folds": [],
   "open": [],
   "boxes": false
  },
  "nested": {
   "handle": "Handle",
   "columns": "Column"
  }
 },
 "Column": {
  "defaults": {
   "kind": "number",
   "numbers": null,
   "texts": [],
   "images": null,
   "limits": null,
   "unit": "",
   "signed": false,
   "histories": null,
   "spreads": null,
   "healthy": null,
   "outside": null,
   "log": false,
   "range": null,
   "note": ""
  },
  "nested": {
   "limits": "Limits"
  }
 },
 "Text": {
  "defaults": {
   "title": "",
   "caption": "",
   "handle": null,
   "doubted": false,
   "values": null,
   "limits": null,
   "alternatives": [],
   "keys": [],
   "struck": null,
   "characters": false
  },
  "nested": {
   "handle": "Handle",
   "limits": "Limits",
   "alternatives": "Alternative"
  }
 },
 "Alternative": {
  "defaults": {},
  "nested": {}
 },
 "Tiles": {
  "defaults": {
   "title": "",
   "caption": "",
   "handle": null,
   "doubted": false,
   "limits": null,
   "labels": [],
   "notes": [],
   "keys": [],
   "faded": null,
   "badges": [],
   "boxes": [],
   "columns": null,
   "size": 44
  },
  "nested": {
   "handle": "Handle",
   "limits": "Limits",
   "boxes": "Box"
  }
 },
 "Provenance": {
  "defaults": {
   "sentence": "",
   "knobs": {},
   "selection": "",
   "step": null,
   "run": "",
   "seed": null,
   "mode": "eval",
   "model": "",
   "source": "",
   "guessed": [],
   "versions": {},
   "maker": "",
   "edits": []
  },
  "nested": {}
 },
 "Check": {
  "defaults": {
   "sentence": "",
   "unit": "",
   "good": null
  },
  "nested": {}
 },
 "MapPlaces": {
  "defaults": {},
  "nested": {}
 },
 "Progress": {
  "defaults": {
   "note": "",
   "seconds": null
  },
  "nested": {}
 }
};

export const CLASSES: readonly string[] = ["#3f90da", "#ffa90e", "#bd1f01", "#94a4a2", "#832db6", "#a96b59", "#e76300", "#b9ac70", "#717581", "#92dadd", "#00569c", "#bf6d00", "#7a0000", "#5c6b69", "#4c0078", "#6e3525", "#a52100", "#7f7237", "#3d404b", "#569da0", "#5fb0fc", "#ffca48", "#e1472e", "#b3c3c1", "#a24fd8", "#ca8976", "#ff8339", "#d9cc8f", "#8f939f", "#b2fbfe"];

export const INFINITE = "#d400d4";
export const NAN_INK = "#8a8a8a";

export const PAPERS = { light: "#fbfaf8", dark: "#131417" } as const;

/** 257 colours, three hexadecimal bytes each. */

export const DIVERGING_LIGHT = "ae5500af5605af580bb0590fb15a13b25c17b25d1ab35e1db46020b46123b56225b66428b6652ab7662cb8682eb96931b96a33ba6b35bb6d37bb6e39bc6f3bbd713dbd723fbe7341bf7443bf7645c07747c17848c17a4ac27b4cc37c4ec37d50c47f52c58053c58155c68357c78459c7855ac8865cc9885ec98960ca8a61ca8c63cb8d65cc8e67cc8f68cd916ace926cce936ecf946fd09671d09773d19875d19a76d29b78d39c7ad39d7bd49f7dd4a07fd5a181d6a282d6a484d7a586d8a687d8a889d9a98bd9aa8cdaab8edaad90dbae92dcaf93dcb095ddb297ddb398deb49adfb69cdfb79ee0b89fe0b9a1e1bba3e1bca4e2bda6e3bfa8e3c0aae4c1abe4c2ade5c4afe5c5b0e6c6b2e7c7b4e7c9b6e8cab7e8cbb9e9cdbbe9cebdeacfbeead0c0ebd2c2ecd3c3ecd4c5edd6c7edd7c9eed8caeedaccefdbceefdcd0f0ddd1f0dfd3f1e0d5f1e1d7f2e3d8f2e4daf3e5dcf3e6def4e8dff4e9e1f5eae3f5ece5f6ede6f7eee8f7f0eaf8f1ecf8f2edf9f3eff9f5f1faf6f3faf7f4fbf9f6fbfaf8f9f9f8f8f8f8f6f7f8f4f6f8f2f4f7f1f3f7eff2f7edf1f7ecf0f7eaeff7e8eef7e7edf7e5ecf6e3ebf6e1e9f6e0e8f6dee7f6dce6f6dbe5f6d9e4f5d7e3f5d6e2f5d4e1f5d2dff5d1def5cfddf4cddcf4ccdbf4cadaf4c8d9f4c6d8f4c5d7f3c3d5f3c1d4f3c0d3f3bed2f3bcd1f3bbd0f2b9cff2b8cef2b6cdf2b4cbf2b3caf1b1c9f1afc8f1aec7f1acc6f0aac5f0a9c4f0a7c2f0a5c1f0a4c0efa2bfefa0beef9fbdef9dbcee9bbbee9abaee98b8ee97b7ed95b6ed93b5ed92b4ed90b3ec8eb2ec8db1ec8bafec89aeeb88adeb86aceb85abeb83aaea81a9ea80a7ea7ea6ea7ca5e97ba4e979a3e978a2e876a1e8749fe8739ee8719de76f9ce76e9be76c9ae66b99e66997e66796e56695e56494e56293e56192e45f90e45d8fe45c8ee35a8de3598ce3578be25589e25488e25287e15086e14f85e14d83e04b82e04a81e04880df467fdf457ddf437cde417bde3f7ade3e79dd3c77dd3a76dc3975dc3774dc3572db3371db3170db306fda2e6dda2c6cda2a6bd9286ad92668d82467d8";

/** 257 colours, three hexadecimal bytes each. */

export const DIVERGING_DARK = "e58c30e38b30e18a30df8930de8830dc8730da8630d88530d68431d48331d28231d18131cf8031cd7f31cb7e31c97d31c77c31c67b31c47a31c27931c07831be7731bd7631bb7531b97430b77330b57230b47130b27030b06f30ae6e30ac6d30ab6c30a96b30a76a30a56930a46830a26730a0662f9e652f9d642f9b632f99622f97612f96602f945f2f925e2e905d2e8f5c2e8d5b2e8b5a2e89592e88582e86572d84562d83552d81542d7f532d7e522d7c522c7a512c79502c774f2c754e2c744d2b724c2b704b2b6f4a2b6d492a6b482a6a472a68462a66452a6544296343296243296042295e41285d40285b3f285a3e28583d27563c27553b27533a265239265039264f38264d37254b36254a35254834244733244532244431244230234130233f2f233e2e223c2d223b2c22392b21382a2136292135282033282032272030261f2f251f2d241e2c231e2b221e29221d28211d26201d251f1c231e1c221d1b211c1b1f1c1b1e1b1a1d1a1a1b191a1a181918171917171816161814151713141714151814161a15171b15181d16191e171a20171b21181c23191d24191e261a1f271b20291b212a1c222c1c232d1d242f1e25301e26321f2734202835202937212a38212b3a222c3b232d3d232e3f242f4025304225314426324527334727344928354a29364c29374e2a384f2a39512b3b532c3c542c3d562d3e582e3f592e405b2f415d30425f304360314462324564324765334867344969344a6b354b6d364c6e364d70374e72384f743851753952773a53793a547b3b557d3c567e3c57803d59823e5a843e5b863f5c88405d89405e8b415f8d42618f42629143639344649544659645669846689a47699c476a9e486ba0496ca2496ea44a6fa64b70a74b71a94c72ab4d73ad4d75af4e76b14f77b34f78b5507ab7517bb9527cbb527dbd537ebf5480c15481c35582c55683c75684c85786ca5887cc5988ce5989d05a8bd25b8cd45b8dd65c8ed85d90da5e91dc5e92de5f93e06095e26096e46197e76298e9639aeb639bed649cef659df1659ff366a0f567a1f768a2f968a4fb69a5fd";

/** 256 colours, three hexadecimal bytes each. */

export const VIRIDIS = "44015444025545045745055845075a46085b460a5c460b5e470d5f470e6147106247116448126548136648156848166948186a48196b481a6c481c6d481d6e481e6f481f71482172482273482374482475482576482777482878482979472b79472c7a472e7b472f7c46307d46327d46337e46347f453580453781453881443982443a82443b83443c83433e84433f854240854241864242864143874144874045884046883f48883f49893f4a893e4b893e4c8a3d4d8a3d4e8a3c4f8b3c508b3b528b3a538b3a548c39558c39568c38578c38588c38598c375a8c375b8c365c8d365d8d355e8d355f8d34608d34618d33628d33638d32658d32668d32678d31688d31698d306a8e306b8e306c8e2f6d8e2f6e8e2e6f8e2e708e2d718e2d728e2c738e2c748e2c758e2b768e2b768e2b778e2a788e2a798e297a8e297b8e297c8e287d8e287e8e277f8e27808e27818e26818e26828e26838e25848d25858d25868d24878d24888d23898d238a8d238b8d228c8d228d8d228e8c228f8c21908c21908c21918c20928c20938c20948b1f958b1f968b1f978b1f988a1f998a1f9a8a1f9b891f9c891f9d891f9e88209f88209f8720a08720a18720a28620a38621a48522a58522a68423a78424a88324a98325aa8226aa8226ab8127ac8128ad8028ae8029af7f2bb07e2cb17e2eb27d2fb37c31b47b32b57a34b67a35b77937b87838b9773aba763bbb753cbc743ebc7440bd7342be7244bf7146bf7048c06f4ac16e4cc26d4dc26c4fc36b51c46a53c56954c56856c66759c7665bc8645ec86360c96262ca6065cb5f67cb5e69cc5c6ccd5b6ece5970ce5872cf5674d05577d05379d1527cd2517ed24f81d34e83d34c85d44b88d54a8ad5488cd6468fd64591d74393d84196d84099d93e9cd93d9eda3ba1da3aa4da38a7db37aadb35acdc33afdc31b2dd2fb4dd2db7de2bbade28bcde27bfdf26c2df25c4df24c7e023cae022cce121cfe120d1e11fd4e21dd6e21cd9e21bdce319dee318e0e31ae3e41be5e41ce8e41deae51eece51fefe520f1e621f4e621f6e622f8e623fbe724fde725";
