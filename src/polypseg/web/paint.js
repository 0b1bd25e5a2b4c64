/* Pixels: pictures decoded, a mask or a map laid over an image as overlay.py does it, grey PNG files written. */

import { HEAT } from "./heat.js";
import { lineWidth, outline } from "./mask.js";

const FOUND = [86, 180, 233];
const DOUBTFUL = [240, 228, 66];

/** A file's picture, upright; null where this browser cannot show the format. */
export async function decodePicture(blob) {
  try {
    return await createImageBitmap(blob);
  } catch {
    return null;
  }
}

/** The blob of an answer's base64 PNG. */
export function pngBlob(base64) {
  return new Blob([Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0))], { type: "image/png" });
}

/** The levels of an 8-bit grey PNG, row by row. */
export async function decodeLevels(base64) {
  const options = { colorSpaceConversion: "none", premultiplyAlpha: "none" };
  const pixels = pixelsOf(await createImageBitmap(pngBlob(base64), options));
  return Uint8Array.from({ length: pixels.length / 4 }, (_, at) => pixels[4 * at]);
}

/** Red, green, blue, alpha of a picture at its own size. */
export function pixelsOf(bitmap) {
  const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(bitmap, 0, 0);
  return context.getImageData(0, 0, bitmap.width, bitmap.height).data;
}

/** Puts pixels on a canvas, which takes their size. */
export function show(canvas, pixels, width, height) {
  if (canvas.width !== width || canvas.height !== height) { canvas.width = width; canvas.height = height; }
  canvas.getContext("2d").putImageData(new ImageData(pixels, width, height), 0, 0);
}

/** The image with the mask tinted, outlined in white, or both (`drawn`: fill, contour, both); a doubtful band is yellow. */
export function maskOver(base, mask, width, height, opacity, drawn, band = null) {
  const pixels = base.slice();
  if (drawn !== "contour") tint(pixels, base, mask, FOUND, opacity);
  if (band) tint(pixels, base, drawn === "contour" ? outline(band, width, height, Math.max(1, lineWidth(width, height) >> 1)) : band, DOUBTFUL, drawn === "contour" ? 1 : opacity);
  if (drawn !== "fill") {
    const line = outline(mask, width, height, lineWidth(width, height));
    for (let at = 0; at < line.length; at++) if (line[at]) pixels.fill(255, 4 * at, 4 * at + 3);
  }
  return pixels;
}

function tint(pixels, base, mask, colour, opacity) {
  for (let at = 0; at < mask.length; at++) {
    if (!mask[at]) continue;
    for (let channel = 0; channel < 3; channel++) {
      const place = 4 * at + channel;
      pixels[place] = Math.round((1 - opacity) * base[place] + opacity * colour[channel]);
    }
  }
}

/** The image in grey under the map's colours. */
export function heatOver(base, map, opacity) {
  const pixels = base.slice();
  for (let at = 0, place = 0; at < map.length; at++, place += 4) {
    const grey = Math.round(0.299 * base[place] + 0.587 * base[place + 1] + 0.114 * base[place + 2]);
    for (let channel = 0; channel < 3; channel++) {
      pixels[place + channel] = Math.round((1 - opacity) * grey + opacity * HEAT[3 * map[at] + channel]);
    }
  }
  return pixels;
}

/** The colours from 0 to 1, one pixel each. */
export function showScale(canvas) {
  const pixels = new Uint8ClampedArray(1024).fill(255);
  for (let level = 0; level < 256; level++) pixels.set(HEAT.subarray(3 * level, 3 * level + 3), 4 * level);
  show(canvas, pixels, 256, 1);
}

/** A grey PNG file, 0 and 255: what other programs read as a mask (a canvas could only write colours). */
export async function maskPng(mask, width, height) {
  const rows = new Uint8Array((width + 1) * height);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) rows[y * (width + 1) + 1 + x] = 255 * mask[y * width + x];
  }
  const packed = new Response(new Blob([rows]).stream().pipeThrough(new CompressionStream("deflate")));
  const header = new DataView(new ArrayBuffer(13));
  header.setUint32(0, width);
  header.setUint32(4, height);
  header.setUint8(8, 8);
  const parts = [
    Uint8Array.of(0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a),
    chunk("IHDR", new Uint8Array(header.buffer)),
    chunk("IDAT", new Uint8Array(await packed.arrayBuffer())),
    chunk("IEND", new Uint8Array(0)),
  ];
  return new Blob(parts, { type: "image/png" });
}

function chunk(kind, data) {
  const bytes = new Uint8Array(data.length + 12);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, data.length);
  bytes.set([...kind].map((letter) => letter.charCodeAt(0)), 4);
  bytes.set(data, 8);
  view.setUint32(data.length + 8, checksum(bytes.subarray(4, data.length + 8)));
  return bytes;
}

function checksum(bytes) {
  let value = -1;
  for (const byte of bytes) {
    value ^= byte;
    for (let bit = 0; bit < 8; bit++) value = (value >>> 1) ^ (0xedb88320 & -(value & 1));
  }
  return ~value >>> 0;
}
