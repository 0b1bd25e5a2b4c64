/* What the editor's tools do to a mask: Uint8Array, 0 and 1, row by row, at the image's own size. No screen, no events;
   a pixel is set or not, nothing is blended. Points are pixels: [column, row], whole numbers. */

/** Draws a line as wide as a brush of an odd `size`: all pixels at most size / 2 from the line between two pixels.

    Gives the runs of pixels that it turned over, [begin, length, …]. */
export function drawLine(mask, width, height, from, to, size, value) {
  const runs = [];
  const reach = size / 2;
  const [dx, dy] = [to[0] - from[0], to[1] - from[1]];
  const length2 = dx * dx + dy * dy;
  const grow = Math.floor(reach);
  const left = Math.max(0, Math.min(from[0], to[0]) - grow), right = Math.min(width - 1, Math.max(from[0], to[0]) + grow);
  const top = Math.max(0, Math.min(from[1], to[1]) - grow), bottom = Math.min(height - 1, Math.max(from[1], to[1]) + grow);
  for (let y = top; y <= bottom; y++) {
    let begin = -1;
    for (let x = left; x <= right + 1; x++) {
      const at = y * width + x;
      const turns = x <= right && mask[at] !== value && isNear(x - from[0], y - from[1], dx, dy, length2, reach);
      if (turns) {
        mask[at] = value;
        if (begin < 0) begin = at;
      } else if (begin >= 0) { runs.push(begin, at - begin); begin = -1; }
    }
  }
  return runs;
}

function isNear(px, py, dx, dy, length2, reach) {
  const share = length2 ? Math.max(0, Math.min(1, (px * dx + py * dy) / length2)) : 0;
  const ex = px - share * dx, ey = py - share * dy;
  return ex * ex + ey * ey <= reach * reach + 1e-9;
}

/** The mask with a polygon's inside (even-odd, by pixel centres) and its edges set. */
export function withPolygon(mask, width, height, points, value = 1) {
  const changed = mask.slice();
  for (let y = 0; y < height; y++) {
    const crossings = [];
    points.forEach(([x1, y1], index) => {
      const [x2, y2] = points[(index + 1) % points.length];
      if ((y1 <= y) !== (y2 <= y)) crossings.push(x1 + ((y - y1) * (x2 - x1)) / (y2 - y1));
    });
    crossings.sort((a, b) => a - b);
    for (let pair = 0; pair + 1 < crossings.length; pair += 2) {
      const begin = Math.max(0, Math.ceil(crossings[pair])), end = Math.min(width - 1, Math.floor(crossings[pair + 1]));
      if (begin <= end) changed.fill(value, y * width + begin, y * width + end + 1);
    }
  }
  points.forEach((point, index) => drawLine(changed, width, height, point, points[(index + 1) % points.length], 1, value));
  return changed;
}

/** The pixels that hang together with one of `starts`: 1 in the answer. `corners`: whether touching corners join. */
export function connected(isIn, width, starts, corners) {
  const found = new Uint8Array(isIn.length);
  const stack = [...starts];
  const reach = corners ? 1 : 0;
  while (stack.length) {
    const at = stack.pop();
    if (found[at] || !isIn[at]) continue;
    const row = at - (at % width), beyond = row + width;
    let left = at, right = at;
    while (left > row && isIn[left - 1] && !found[left - 1]) left--;
    while (right + 1 < beyond && isIn[right + 1] && !found[right + 1]) right++;
    found.fill(1, left, right + 1);
    const first = Math.max(row, left - reach), last = Math.min(beyond - 1, right + reach);
    for (const shift of [-width, width]) {
      if (first + shift < 0 || first + shift >= isIn.length) continue;
      for (let other = first + shift; other <= last + shift; other++) {
        if (isIn[other] && !found[other] && (other === first + shift || !isIn[other - 1] || found[other - 1])) stack.push(other);
      }
    }
  }
  return found;
}

/** The mask without its holes: what is no polyp and cannot be reached from the image's border. */
export function withoutHoles(mask, width, height) {
  const reached = connected(mask.map((value) => 1 - value), width, borderOf(width, height), false);
  return reached.map((value) => 1 - value);
}

/** The mask with the hole at a pixel filled; null where the pixel is in no hole. */
export function withHoleFilled(mask, width, height, [x, y]) {
  if (mask[y * width + x]) return null;
  const hole = connected(mask.map((value) => 1 - value), width, [y * width + x], false);
  if (borderOf(width, height).some((at) => hole[at])) return null;
  return mask.map((value, at) => value | hole[at]);
}

function borderOf(width, height) {
  const border = [];
  for (let x = 0; x < width; x++) border.push(x, (height - 1) * width + x);
  for (let y = 0; y < height; y++) border.push(y * width, y * width + width - 1);
  return border;
}

/** The mask without the region at a pixel; null where there is none. */
export function withoutRegion(mask, width, height, [x, y]) {
  if (!mask[y * width + x]) return null;
  const region = connected(mask, width, [y * width + x], true);
  return mask.map((value, at) => (region[at] ? 0 : value));
}

/** The mask with a smoother edge: a pixel follows the most of those up to `reach` columns and rows away. */
export function smoothed(mask, width, height, reach = smoothReach(width, height)) {
  const sums = new Uint32Array((width + 1) * (height + 1)); // of all pixels above and left
  for (let y = 0; y < height; y++) {
    let row = 0;
    for (let x = 0; x < width; x++) {
      row += mask[y * width + x];
      sums[(y + 1) * (width + 1) + x + 1] = sums[y * (width + 1) + x + 1] + row;
    }
  }
  const smooth = new Uint8Array(mask.length);
  for (let y = 0; y < height; y++) {
    const top = Math.max(0, y - reach) * (width + 1), bottom = Math.min(height, y + reach + 1) * (width + 1);
    const rows = (bottom - top) / (width + 1);
    for (let x = 0; x < width; x++) {
      const left = Math.max(0, x - reach), right = Math.min(width, x + reach + 1);
      const count = sums[bottom + right] - sums[bottom + left] - sums[top + right] + sums[top + left];
      smooth[y * width + x] = 2 * count > rows * (right - left) ? 1 : 0;
    }
  }
  return smooth;
}

/** How far smoothing looks: 0.5 % of the longer side. */
export function smoothReach(width, height) {
  return Math.max(1, Math.round(0.005 * Math.max(width, height)));
}

/** How many pixels are set. */
export function areaOf(mask) {
  let area = 0;
  for (let at = 0; at < mask.length; at++) area += mask[at];
  return area;
}

/** The box [left, top, right, bottom] of what is set, right and bottom beyond; null where nothing is. */
export function boxOfMask(mask, width) {
  const first = mask.indexOf(1);
  if (first < 0) return null;
  const box = [width, Math.floor(first / width), 0, Math.floor(mask.lastIndexOf(1) / width) + 1];
  for (let y = box[1]; y < box[3]; y++) {
    const row = mask.subarray(y * width, (y + 1) * width);
    const left = row.indexOf(1);
    if (left < 0) continue;
    box[0] = Math.min(box[0], left);
    box[2] = Math.max(box[2], row.lastIndexOf(1) + 1);
  }
  return box;
}
