/* Undo and redo without a limit. A step is the runs of pixels that it turned over: undoing and redoing are one act, and
   a step takes a few bytes for each row that it touched, never a copy of the mask. */

/** Runs of pixels, [begin, length, begin, length, …], in the order of the pixels, neighbours joined. */
export function tidyRuns(runs) {
  const order = Array.from({ length: runs.length / 2 }, (_, index) => 2 * index).sort((a, b) => runs[a] - runs[b]);
  const tidy = [];
  for (const place of order) {
    const last = tidy.length - 2;
    if (last >= 0 && tidy[last] + tidy[last + 1] === runs[place]) tidy[last + 1] += runs[place + 1];
    else tidy.push(runs[place], runs[place + 1]);
  }
  return Uint32Array.from(tidy);
}

/** The runs in which two masks differ. */
export function differingRuns(before, after) {
  const runs = [];
  let begin = -1;
  for (let at = 0; at <= before.length; at++) {
    const differs = at < before.length && before[at] !== after[at];
    if (differs && begin < 0) begin = at;
    else if (!differs && begin >= 0) { runs.push(begin, at - begin); begin = -1; }
  }
  return Uint32Array.from(runs);
}

/** Turns the pixels of runs over. */
export function turnOver(mask, runs) {
  for (let place = 0; place < runs.length; place += 2) {
    for (let at = runs[place]; at < runs[place] + runs[place + 1]; at++) mask[at] ^= 1;
  }
}

/** The box [left, top, right, bottom] around runs, right and bottom beyond; null where there are none. */
export function boxOfRuns(runs, width) {
  if (!runs.length) return null;
  const box = [width, Infinity, 0, 0];
  for (let place = 0; place < runs.length; place += 2) {
    const begin = runs[place], last = begin + runs[place + 1] - 1;
    const top = Math.floor(begin / width), bottom = Math.floor(last / width);
    const isOneRow = top === bottom;
    box[0] = Math.min(box[0], isOneRow ? begin % width : 0);
    box[1] = Math.min(box[1], top);
    box[2] = Math.max(box[2], isOneRow ? (last % width) + 1 : width);
    box[3] = Math.max(box[3], bottom + 1);
  }
  return box;
}

/** The steps that were made of one mask; those after `place` are undone. */
export class History {
  constructor() {
    this.steps = [];
    this.place = 0;
  }

  get canUndo() {
    return this.place > 0;
  }

  get canRedo() {
    return this.place < this.steps.length;
  }

  /** Keeps a step that was made; those that were undone are gone. Tells whether it changed anything. */
  keep(runs, words) {
    if (!runs.length) return false;
    this.steps.length = this.place;
    this.steps.push({ runs, words });
    this.place++;
    return true;
  }

  /** Undoes the last step; gives it, or null. */
  undo(mask) {
    if (!this.canUndo) return null;
    const step = this.steps[--this.place];
    turnOver(mask, step.runs);
    return step;
  }

  /** Makes the step again that was undone last; gives it, or null. */
  redo(mask) {
    if (!this.canRedo) return null;
    const step = this.steps[this.place++];
    turnOver(mask, step.runs);
    return step;
  }
}
