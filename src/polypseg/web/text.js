/* Numbers and problems in words. */

const counted = new Intl.NumberFormat("en");

export const pixels = (count) => `${counted.format(count)}\u00a0px`;
export const percent = (value) => `${value.toFixed(value < 10 ? 2 : 1)}\u00a0%`;
export const probability = (value) => (value === null ? "–" : value.toFixed(2));
export const stem = (name) => name.replace(/\.[^.]*$/, "");

/** A threshold without needless digits: 0.50, 0.437. */
export function thresholdText(value) {
  return Math.abs(value * 100 - Math.round(value * 100)) < 1e-9 ? value.toFixed(2) : value.toFixed(3);
}

/** Seconds as a clock shows them: 0:04.2. */
export function clock(seconds) {
  const tenths = Math.round(seconds * 10);
  const minutes = Math.floor(tenths / 600);
  return `${minutes}:${String(Math.floor((tenths % 600) / 10)).padStart(2, "0")}.${tenths % 10}`;
}

export const several = (count, one, many = `${one}s`) => `${counted.format(count)} ${count === 1 ? one : many}`;

/** What a person can do about a problem. */
export function hint(problem, kind) {
  if (!problem.status) return "Is it still running? Start it with: polypseg serve";
  if ([400, 415].includes(problem.status)) {
    return kind === "video"
      ? "Expected a video, such as MP4, MOV, AVI, MKV or WebM. Does it play elsewhere?"
      : "Expected a JPEG, PNG, TIFF, BMP or WebP image. Does it open elsewhere?";
  }
  if (problem.status === 404) return "The server no longer knows this job; try again.";
  if (problem.status === 413) return "Make the file smaller or shorter, and try again.";
  if ([408, 429, 503, 504].includes(problem.status)) return "The server is busy. Try again in a moment.";
  if (problem.status >= 500) return "The error is in the server, not in the file.";
  return "";
}

/** Fills a description list with [term, value, detail] rows. */
export function fillFacts(list, rows) {
  list.replaceChildren(
    ...rows.map(([term, value, detail]) => {
      const row = document.createElement("div");
      row.append(element("dt", term), element("dd", value));
      if (detail) row.lastChild.append(element("small", detail));
      return row;
    }),
  );
}

/** An element that holds a text. */
export function element(tag, text = "", changes = {}) {
  return Object.assign(document.createElement(tag), { textContent: text }, changes);
}

/** Hands a blob to the person as a file. */
export function saveBlob(blob, name) {
  const link = element("a", "", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

export function saveJson(value, name) {
  saveBlob(new Blob([`${JSON.stringify(value, null, 2)}\n`], { type: "application/json" }), name);
}
