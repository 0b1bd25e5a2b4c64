/* The region that two clicks on opposite ends of a polyp propose.

   A polyp that was missed has low probabilities, and a threshold that joins the two clicks lets the region run out of it:
   on the missed polyps of CVC-ClinicDB that was worse than a disc (benchmarks/two_clicks.py). So the shape comes from the
   clicks, an ellipse of the aspect that polyps have, and the map moves its edge by up to 15 %. The settings were chosen on
   those same polyps. */

import { withoutHoles } from "./editor_tools.js";

const LONGER = 1.08, ASPECT = 0.8; // the ellipse: its length by that of the clicks, its width by its length
const WEIGHT = 0.3, AROUND = 2; // of the map, and how far around, in radii, its levels are compared

/** The region, 1 where it is, from an 8-bit map; from the ellipse alone where the map is null. */
export function proposedRegion(map, width, height, first, second) {
  const radiusAt = ellipse(first, second);
  const reach = AROUND * Math.max(1, (LONGER * Math.hypot(second[0] - first[0], second[1] - first[1])) / 2);
  const middle = [(first[0] + second[0]) / 2, (first[1] + second[1]) / 2];
  const left = Math.max(0, Math.floor(middle[0] - reach)), right = Math.min(width - 1, Math.ceil(middle[0] + reach));
  const top = Math.max(0, Math.floor(middle[1] - reach)), bottom = Math.min(height - 1, Math.ceil(middle[1] + reach));
  const counts = new Array(256).fill(0);
  if (map) {
    for (let y = top; y <= bottom; y++) {
      for (let x = left; x <= right; x++) if (radiusAt(x, y) < AROUND) counts[map[y * width + x]]++;
    }
  }
  const low = levelAt(counts, 0.1), high = levelAt(counts, 0.9);
  const region = new Uint8Array(width * height);
  for (let y = top; y <= bottom; y++) {
    for (let x = left; x <= right; x++) {
      const share = map && high > low ? Math.max(0, Math.min(1, (map[y * width + x] - low) / (high - low))) : 0.5;
      if (1 - radiusAt(x, y) + WEIGHT * (share - 0.5) > 0) region[y * width + x] = 1;
    }
  }
  return withoutHoles(region, width, height);
}

/* The distance from the ellipse's middle: 1 on its edge. */
function ellipse([x1, y1], [x2, y2]) {
  const half = Math.max(1, Math.hypot(x2 - x1, y2 - y1) / 2);
  const [ux, uy] = [(x2 - x1) / 2 / half, (y2 - y1) / 2 / half];
  const [mx, my] = [(x1 + x2) / 2, (y1 + y2) / 2];
  const isPoint = x1 === x2 && y1 === y2;
  return (x, y) => {
    const [dx, dy] = [x - mx, y - my];
    if (isPoint) return Math.hypot(dx, dy) / half;
    const along = (dx * ux + dy * uy) / (LONGER * half), across = (dy * ux - dx * uy) / (LONGER * half * ASPECT);
    return Math.hypot(along, across);
  };
}

/* The level below which a share of the counted pixels lies. */
function levelAt(counts, share) {
  const wanted = share * counts.reduce((sum, count) => sum + count, 0);
  let sum = 0;
  for (let level = 0; level < 256; level++) {
    sum += counts[level];
    if (sum > wanted) return level;
  }
  return 255;
}
