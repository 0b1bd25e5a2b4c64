/* Frames of a video as images of the page: every n-th, or those of which the model is in most doubt. */

import { sendForBlob } from "./api.js";
import { several, stem } from "./text.js";
import { unzip } from "./zip.js";

const byId = (id) => document.getElementById(id);
const AT_ONCE = 50, MOST = 300;
const APART_SECONDS = 0.5;

/** Every n-th frame that could be decoded. */
export function everyNth(frames, step) {
  return frames.filter(({ frame, area_percent: area }) => frame % step === 0 && area !== null).map(({ frame }) => frame);
}

/** So many frames whose highest probability is nearest to the level at which the model decides, not two within half a second. */
export function mostDoubtful(frames, count, level) {
  const logit = (value) => { const held = Math.min(0.9999, Math.max(0.0001, value)); return Math.log(held / (1 - held)); };
  const known = frames.filter(({ max_probability: highest }) => highest !== null);
  const ranked = known.toSorted((a, b) => Math.abs(logit(a.max_probability) - logit(level)) - Math.abs(logit(b.max_probability) - logit(level)));
  const chosen = [];
  for (const frame of ranked) {
    if (chosen.length === count) break;
    if (chosen.every((other) => Math.abs(other.seconds - frame.seconds) >= APART_SECONDS)) chosen.push(frame);
  }
  return chosen.map(({ frame }) => frame).sort((a, b) => a - b);
}

/** The controls beside a video; `page` has: take(files, folder) and level(), where the model decides. */
export class VideoFrames {
  constructor(page) {
    this.page = page;
    for (const id of ["frames-way", "frames-number"]) byId(id).addEventListener("input", () => this.show());
    byId("frames-take").addEventListener("click", () => this.take());
  }

  open(item) {
    this.item = item;
    this.show();
  }

  numbers() {
    const { frames } = this.item.answer;
    const number = Math.max(1, Math.floor(Number(byId("frames-number").value)) || 1);
    return byId("frames-way").value === "doubt" ? mostDoubtful(frames, number, this.page.level()) : everyNth(frames, number);
  }

  show() {
    const count = this.numbers().length;
    byId("frames-words").textContent = count > MOST ? `${several(count, "frame")}; at most ${MOST} at once: choose fewer.` : several(count, "frame");
    byId("frames-take").disabled = count === 0 || count > MOST;
  }

  async take() {
    const { item } = this;
    const numbers = this.numbers();
    const found = [];
    byId("frames-take").disabled = true;
    try {
      for (let begin = 0; begin < numbers.length; begin += AT_ONCE) {
        byId("frames-words").textContent = `Taking ${several(numbers.length, "frame")}: ${found.length} so far …`;
        const some = numbers.slice(begin, begin + AT_ONCE).join(",");
        found.push(...await unzip(await sendForBlob(`/v1/video/frames?numbers=${some}`, "video", item.file), "image/png"));
      }
      const name = stem(item.name);
      this.show();
      this.page.take(found.map((frame) => ({ file: new File([frame.blob], `${name}_${frame.name}`, { type: "image/png" }), folder: name })));
    } catch (problem) {
      byId("frames-words").textContent = `${problem.title ?? "The frames cannot be read"}. ${problem.detail ?? problem.message}`;
    } finally {
      byId("frames-take").disabled = false;
    }
  }
}
