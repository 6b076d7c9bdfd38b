// Made by `python -m diorama.core.typescript`; not edited by hand.

import type { Node } from "../types.ts";
import * as bars from "./bars.ts";
import * as blocks from "./blocks.ts";
import * as field from "./field.ts";
import * as group from "./group.ts";
import type { Half } from "./half.ts";
import * as heatmap from "./heatmap.ts";
import * as image from "./image.ts";
import * as lines from "./lines.ts";
import * as network from "./network.ts";
import * as number from "./number.ts";
import * as parallel from "./parallel.ts";
import * as ridges from "./ridges.ts";
import * as roll from "./roll.ts";
import * as scatter from "./scatter.ts";
import * as table from "./table.ts";
import * as text from "./text.ts";
import * as tiles from "./tiles.ts";

/** The browser half of every mark by its name. */
export const HALVES: { readonly [M in Node as M["mark"]]: Half<M> } = { bars, blocks, field, group, heatmap, image, lines, network, number, parallel, ridges, roll, scatter, table, text, tiles };
