/* Which images to look at first; as predict/doubt.py orders frames (a test compares them). */

import { pixels, probability } from "./text.js";

const BUDGET = 0.1;

/** Places of the scores ({marked, mark, outline}), the first to look at first: marks that may be no polyp, and polyps
    that may be missed (images without a mark first) or badly outlined, in turn. */
export function reviewOrder(scores) {
  const places = scores.map((_, place) => place);
  const marks = places.filter((place) => scores[place].marked).sort((a, b) => scores[b].mark - scores[a].mark || a - b);
  const misses = places.slice().sort((a, b) =>
    scores[a].marked - scores[b].marked || scores[b].outline - scores[a].outline || a - b);
  const found = new Set();
  for (let turn = 0; turn < places.length; turn++) {
    if (turn < marks.length) found.add(marks[turn]);
    found.add(misses[turn]);
  }
  return [...found];
}

/** The doubt of an item that is done; null for a video, or while it is not. */
export function scoreOf(item) {
  if (item.kind !== "image" || item.state !== "done" || item.answer.outline_doubt === undefined) return null;
  const { num_components: count, mark_doubt: mark, outline_doubt: outline } = item.answer;
  return { marked: count > 0, mark, outline };
}

/** What the table of findings says of doubt: [term, value, detail] rows. */
export function doubtRows(answer) {
  if (answer.outline_doubt === undefined) return [];
  const rows = [["Doubt", `mark ${probability(answer.mark_doubt)}, outline ${probability(answer.outline_doubt)}`, "0 is sure; for the model’s own mask"]];
  if (answer.outer) rows.push(["Outer mask", pixels(answer.outer_area_px), "misses little of the polyp, by the calibration"]);
  if (answer.inner) rows.push(["Inner mask", pixels(answer.inner_area_px), "little of it is not polyp"]);
  return rows;
}

/** The images of the items that are done, the first to look at first. */
export function ranked(items) {
  const scored = items.filter((item) => scoreOf(item));
  return reviewOrder(scored.map(scoreOf)).map((place) => scored[place]);
}

/** How many of so many images are marked for a second look: at most a tenth, so none of a handful. */
export function numAgain(count) {
  return Math.floor(BUDGET * count + 1e-9);
}
