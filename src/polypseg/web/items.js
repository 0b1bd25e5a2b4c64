/* The files so far, and the requests that they need: two images at a time, one video at a time. */

import { ask, forget, pause, send } from "./api.js";
import { decodePicture, pngBlob } from "./paint.js";

const AT_ONCE = { image: 2, video: 1 };
const POLL_MILLISECONDS = 400;
const MOST_PAGES = 100;
const IMAGE_ENDINGS = /\.(jpe?g|png|tiff?|bmp|webp)$/i;
const VIDEO_ENDINGS = /\.(mp4|m4v|mov|avi|mkv|webm|mpe?g|wmv|ts)$/i;

/** Whether a file is an image or a video, as its name tells. */
export const isMedia = ({ name }) => IMAGE_ENDINGS.test(name) || VIDEO_ENDINGS.test(name);

export const UNFINISHED = ["queued", "uploading", "working", "busy"];

/** What holds the items; `onChange(item)` is called after each change of one. */
export class Items {
  constructor(onChange, getOptions) {
    this.all = [];
    this.onChange = onChange;
    this.getOptions = getOptions;
    this.numMade = 0;
    this.shared = { threshold: null, smallest: 0 }; // what new images begin with
  }

  /** Takes a file and gives its item; `changes` are further properties, such as its folder. */
  add(file, changes = {}) {
    const isVideo = file.type.startsWith("video/") || VIDEO_ENDINGS.test(file.name ?? "");
    const item = { id: ++this.numMade, kind: isVideo ? "video" : "image", name: file.name || "pasted image", file, page: 1, folder: "", ...changes };
    item.url = isVideo ? null : URL.createObjectURL(file);
    this.all.push(item);
    this.start(item);
    return item;
  }

  /** Puts an item in the queue, for the first time or again. */
  start(item) {
    this.forgetJob(item);
    if (item.videoUrl) URL.revokeObjectURL(item.videoUrl);
    item.videoUrl = null;
    Object.assign(item, { state: "queued", share: null, problem: null, answer: null, job: null, correction: item.correction ?? null });
    Object.assign(item, { ...this.shared, numFound: null, decoded: null, stopper: new AbortController() });
    this.onChange(item);
    this.fill();
  }

  fill() {
    for (const kind of ["image", "video"]) {
      const waiting = this.all.filter((item) => item.kind === kind && item.state === "queued");
      const numRunning = this.all.filter((item) => item.kind === kind && ["uploading", "working", "busy"].includes(item.state)).length;
      for (const item of waiting.slice(0, Math.max(0, AT_ONCE[kind] - numRunning))) this.run(item);
    }
  }

  async run(item) {
    this.tell(item, { state: "uploading", share: 0 });
    const stopper = item.stopper;
    try {
      await (item.kind === "image" ? this.segment(item, stopper.signal) : this.film(item, stopper.signal));
      if (item.stopper === stopper) this.tell(item, { state: "done", share: 1 });
    } catch (error) {
      if (error.name !== "AbortError" && item.stopper === stopper) this.tell(item, { state: "failed", problem: error });
    }
    this.fill();
  }

  async segment(item, signal) {
    const { hasAttention, tta } = await this.getOptions();
    const query = new URLSearchParams({ probability: "true", attention: String(hasAttention), tta, page: item.page });
    const follow = this.follow(item, signal);
    const bitmap = await decodePicture(item.file);
    const size = bitmap && [bitmap.height, bitmap.width];
    bitmap?.close();
    if (!size) query.set("picture", "true");
    item.answer = await send(`/v1/segment?${query}`, "image", item.file, follow);
    const { height, width } = item.answer.image;
    if (size && (size[0] !== height || size[1] !== width)) { // the browser turned the picture otherwise
      query.set("picture", "true");
      item.answer = await send(`/v1/segment?${query}`, "image", item.file, follow);
    }
    if (item.answer.picture) this.showOwn(item);
    if (item.numPages === undefined) this.addPages(item, item.answer.num_pages ?? 1);
  }

  /* A TIFF file of several pages is as many images. */
  addPages(item, numPages) {
    const { file, folder, name } = item;
    item.numPages = numPages;
    if (numPages === 1) return;
    item.name = `${name}, page 1`;
    const last = Math.min(numPages, MOST_PAGES);
    for (let page = 2; page <= last; page++) this.add(file, { page, numPages, folder, name: `${name}, page ${page}` });
    if (last < numPages) item.note = `The file has ${numPages} pages; the first ${MOST_PAGES} are used.`;
  }

  /* The browser cannot show the file: the picture that the server read stands for it. */
  showOwn(item) {
    item.substitute = pngBlob(item.answer.picture.png);
    URL.revokeObjectURL(item.url);
    item.url = URL.createObjectURL(item.substitute);
  }

  async film(item, signal) {
    const { tta, smoothing, withhold } = await this.getOptions();
    const query = new URLSearchParams({ tta, smoothing, withhold });
    item.overTime = { smoothing, withhold };
    const { id } = await send(`/v1/video?${query}`, "video", item.file, this.follow(item, signal));
    item.job = { path: `/v1/jobs/${encodeURIComponent(id)}` };
    if (signal.aborted) this.forgetJob(item);
    for (;;) {
      const job = await ask(item.job.path, "GET", signal);
      if (job.state === "done") { item.answer = job.result; return; }
      if (job.state === "failed") throw Object.assign(new Error(), { status: 0 }, job.error);
      if (job.state === "cancelled") throw Object.assign(new Error(), { title: "The job was cancelled", detail: "", status: 404 });
      Object.assign(item.job, job);
      this.tell(item, { state: "working", share: job.num_frames ? job.progress : null });
      await pause(POLL_MILLISECONDS, signal);
    }
  }

  follow(item, signal) {
    return {
      signal,
      onUpload: (share) => this.tell(item, share < 1 ? { state: "uploading", share } : { state: "working", share: null }),
      onBusy: (seconds) => this.tell(item, { state: "busy", share: null, busySeconds: seconds }),
    };
  }

  tell(item, changes) {
    Object.assign(item, changes);
    if (this.all.includes(item)) this.onChange(item);
  }

  /** Stops what runs for an item and lets go of all that is held for it, here and on the server. */
  remove(item) {
    item.stopper.abort();
    this.forgetJob(item);
    this.all = this.all.filter((other) => other !== item);
    for (const url of [item.url, item.videoUrl]) if (url) URL.revokeObjectURL(url);
    this.fill();
  }

  forgetJob(item) {
    if (item.job) forget(item.job.path);
    item.job = null;
  }
}
