/* Masks as the server makes them: from run lengths or from a map and a threshold; their regions, outlines, run lengths.
   Maps and masks are Uint8Array, row by row; what preprocess, regions.py and overlay.py do in Python is done alike here. */

/** The mask of COCO's compressed run lengths, 1 where there is polyp. */
export function decodeRunLengths({ size: [height, width], counts: text }) {
  const mask = new Uint8Array(height * width);
  const counts = [];
  for (let place = 0; place < text.length; ) {
    let value = 0, shift = 0, bits;
    do {
      bits = text.charCodeAt(place++) - 48;
      value |= (bits & 0x1f) << shift;
      shift += 5;
    } while (bits & 0x20);
    if (bits & 0x10) value |= -1 << shift;
    counts.push(counts.length > 2 ? value + counts[counts.length - 2] : value);
  }
  let place = 0;
  counts.forEach((count, index) => {
    if (index % 2) {
      for (let at = place; at < place + count; at++) mask[(at % height) * width + Math.floor(at / height)] = 1;
    }
    place += count;
  });
  return mask;
}

/** COCO's compressed run lengths of a mask. */
export function encodeRunLengths(mask, width, height) {
  const counts = [];
  let last = 0, run = 0;
  for (let x = 0; x < width; x++) {
    for (let y = 0; y < height; y++) {
      const value = mask[y * width + x];
      if (value !== last) { counts.push(run); run = 0; last = value; }
      run++;
    }
  }
  counts.push(run);
  let text = "";
  counts.forEach((count, index) => {
    let value = index > 2 ? count - counts[index - 2] : count;
    for (;;) {
      const bits = value & 0x1f;
      value >>= 5;
      const isLast = value === (bits & 0x10 ? -1 : 0);
      text += String.fromCharCode((isLast ? bits : bits | 0x20) + 48);
      if (isLast) break;
    }
  });
  return { size: [height, width], counts: text };
}

/** Pixels whose probability, an 8-bit level, is at least the threshold. */
export function thresholded(map, threshold) {
  const isPolyp = Uint8Array.from({ length: 256 }, (_, level) => (level / 255 >= threshold ? 1 : 0));
  return map.map((level) => isPolyp[level]);
}

/** The 8-connected regions, the largest first, and the mask without those of fewer than `smallest` pixels. */
export function findRegions(mask, map, width, height, smallest = 0) {
  const { begins, ends, parents } = joinedRuns(mask, width, height);
  const regions = new Map();
  const labels = begins.map((_, run) => rootOf(parents, run));
  labels.forEach((label, run) => {
    const y = Math.floor(begins[run] / width);
    const region = regions.get(label) ?? { area: 0, left: width, top: y, right: 0, bottom: y, sum: 0, max: 0 };
    regions.set(label, region);
    region.area += ends[run] - begins[run];
    region.left = Math.min(region.left, begins[run] - y * width);
    region.right = Math.max(region.right, ends[run] - 1 - y * width);
    region.bottom = y; // runs come from the top
    for (let at = begins[run]; at < ends[run]; at++) {
      region.sum += map[at];
      if (map[at] > region.max) region.max = map[at];
    }
  });
  const kept = [...regions.values()].filter((region) => region.area >= smallest).sort((a, b) => b.area - a.area);
  let cleaned = mask;
  if (kept.length < regions.size) {
    cleaned = mask.slice();
    labels.forEach((label, run) => {
      if (regions.get(label).area < smallest) cleaned.fill(0, begins[run], ends[run]);
    });
  }
  return { mask: cleaned, polyps: kept.map((region) => described(region, mask.length)) };
}

/* Runs of polyp along the rows; runs that touch a run of the row above, corners included, share a root. */
function joinedRuns(mask, width, height) {
  const begins = [], ends = [], parents = [];
  let above = 0, row = 0;
  for (let y = 0; y < height; y++) {
    const first = y * width, beyond = first + width;
    for (let at = mask.indexOf(1, first); at !== -1 && at < beyond; at = mask.indexOf(1, at)) {
      const begin = at;
      while (at < beyond && mask[at]) at++;
      const run = begins.push(begin) - 1;
      ends.push(at);
      parents.push(run);
      while (above < row && ends[above] + width < begin) above++;
      for (let other = above; other < row && begins[other] + width <= at; other++) {
        parents[rootOf(parents, run)] = rootOf(parents, other);
      }
    }
    above = row;
    row = begins.length;
  }
  return { begins, ends, parents };
}

function rootOf(parents, run) {
  while (parents[run] !== run) {
    parents[run] = parents[parents[run]];
    run = parents[run];
  }
  return run;
}

function described(region, numPixels) {
  return {
    area_px: region.area,
    area_percent: (100 * region.area) / numPixels,
    box: [region.left, region.top, region.right - region.left + 1, region.bottom - region.top + 1],
    mean_probability: region.sum / region.area / 255,
    max_probability: region.max / 255,
  };
}

/** A line along the inside of the mask's border: pixels from which at most `lineWidth` steps leave the mask. */
export function outline(mask, width, height, lineWidth) {
  const far = lineWidth + 1;
  const steps = new Uint16Array(mask.length);
  for (let y = 0, at = 0; y < height; y++) {
    for (let x = 0; x < width; x++, at++) {
      if (mask[at]) steps[at] = Math.min(far, 1 + Math.min(x ? steps[at - 1] : 0, y ? steps[at - width] : 0));
    }
  }
  const line = new Uint8Array(mask.length);
  for (let y = height - 1, at = mask.length - 1; y >= 0; y--) {
    for (let x = width - 1; x >= 0; x--, at--) {
      if (!mask[at]) continue;
      const back = Math.min(x < width - 1 ? steps[at + 1] : 0, y < height - 1 ? steps[at + width] : 0);
      steps[at] = Math.min(steps[at], 1 + back);
      line[at] = steps[at] <= lineWidth ? 1 : 0;
    }
  }
  return line;
}

/** As overlay.line_width_px: 0.8 % of the longer side. */
export function lineWidth(width, height) {
  return Math.max(1, Math.round(0.008 * Math.max(width, height)));
}
