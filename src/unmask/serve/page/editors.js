// By the names that kinds of data give them.
import {Pixels} from "./pictures.js";
import {Sequence} from "./sequences.js";
import {Grid} from "./tables.js";

export const EDITORS = {
  text: Sequence, residues: Sequence, plain: Sequence, pixels: Pixels, grid: Grid,
};
