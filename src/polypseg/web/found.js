/* What was found in an item's image: the server's mask, one of another threshold, or one that a person corrected. */

import { decodeRunLengths, findRegions, thresholded } from "./mask.js";
import { decodeLevels, decodePicture, pixelsOf } from "./paint.js";

/** The mask that a person made or confirmed; null where nobody did. */
export function correctedMask(item) {
  return item.correction && stateOf(item) !== "predicted" ? item.correction.mask : null;
}

/** predicted, corrected, accepted, no-polyp or rejected. */
export function stateOf({ correction }) {
  if (!correction) return "predicted";
  return correction.verdict ?? (correction.history.canUndo ? "corrected" : "predicted");
}

/** Whether the mask is the one that the server answered. */
export function isOwn(item) {
  return item.threshold === null && item.smallest === 0 && !correctedMask(item);
}

/** The mask and its regions, { mask, polyps }, from what `decodeMaps` gives. */
export function findIn(item, { map, mask }) {
  const { width, height } = item.answer.image;
  const corrected = correctedMask(item);
  if (corrected) return { mask: corrected, polyps: findRegions(corrected, map, width, height).polyps };
  if (isOwn(item)) return { mask, polyps: item.answer.polyps };
  const wanted = item.threshold === null ? mask : thresholded(map, item.threshold);
  return findRegions(wanted, map, width, height, item.smallest);
}

/** The probability map in 8 bit and the server's mask. */
export async function decodeMaps({ answer }) {
  const mask = decodeRunLengths(answer.mask);
  return { map: await decodeLevels(answer.probability.png), mask, band: bandOf(answer, mask) };
}

/* The pixels that may be polyp or not, by a calibration; null without one. */
function bandOf(answer, mask) {
  if (!answer.outer && !answer.inner) return null;
  const outer = answer.outer ? decodeRunLengths(answer.outer) : mask;
  const inner = answer.inner ? decodeRunLengths(answer.inner) : mask;
  return outer.map((isOuter, at) => (isOuter && !inner[at] ? 1 : 0));
}

/** The maps, the picture's pixels, and how many pixels reach each level. */
export async function decodeAll(item) {
  const { answer } = item;
  const bitmap = await decodePicture(item.substitute ?? item.file);
  const base = pixelsOf(bitmap);
  bitmap.close();
  for (let at = 0; at < base.length; at += 4) { // transparent files stand on black, as for the model
    if (base[at + 3] === 255) continue;
    for (let channel = 0; channel < 3; channel++) base[at + channel] = Math.round((base[at + channel] * base[at + 3]) / 255);
    base[at + 3] = 255;
  }
  const maps = await decodeMaps(item);
  const attention = {};
  for (const { level, png } of answer.attention ?? []) attention[level] = await decodeLevels(png);
  const atLeast = new Array(257).fill(0);
  for (const level of maps.map) atLeast[level]++;
  for (let level = 255; level >= 0; level--) atLeast[level] += atLeast[level + 1];
  return { base, ...maps, attention, atLeast };
}

/** The gate that is opened first: the one that the server names, unless it is the same all over the image. */
export function levelToShow({ answer, level }, attention) {
  if (level !== undefined) return level;
  const named = answer.attention_level;
  if (!attention[named] || !isFlat(attention[named])) return named;
  return Number(Object.keys(attention).sort((a, b) => spread(attention[b]) - spread(attention[a]))[0]);
}

/** Whether a map shows nothing: 98 of 100 pixels lie within 8 of 255 levels. */
export function isFlat(map) {
  return spread(map) < 8;
}

function spread(map) {
  const counts = new Array(256).fill(0);
  for (const level of map) counts[level]++;
  const levelAt = (share) => {
    let sum = 0;
    return counts.findIndex((count) => (sum += count) > share * (map.length - 1));
  };
  return levelAt(0.99) - levelAt(0.01);
}

/** The file that holds the image, as a person gets it back: the picture itself where a file holds several. */
export function imageFile(item) {
  return item.numPages > 1 ? item.substitute : item.file;
}

