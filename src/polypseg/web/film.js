/* The result of a video: the player, the timeline and the detections. */

import { fetchBlob, hasToken } from "./api.js";
import { clock, element, fillFacts, percent, probability, saveBlob, saveJson, several, stem } from "./text.js";
import { VideoFrames } from "./video_frames.js";

const byId = (id) => document.getElementById(id);

const SMOOTHINGS = {
  none: "Each frame is predicted on its own.",
  exponential: "Each frame is averaged with the frames before it; older frames count less.",
  window: "The probabilities of the last 5 frames are averaged.",
};

/** Shows videos that are done. The host has: rerun(), take(files) of frames, and level(), at which the model decides. */
export class Film {
  constructor(host) {
    this.item = null;
    this.frames = new VideoFrames(host);
    byId("smoothing").addEventListener("change", () => this.showOverTime());
    byId("withhold").addEventListener("input", () => this.showOverTime());
    byId("rerun").addEventListener("click", () => host.rerun());
    this.showOverTime();
    const player = byId("player");
    for (const event of ["timeupdate", "seeked", "loadedmetadata"]) player.addEventListener(event, () => this.follow());
    player.addEventListener("play", () => this.followFrames());
    byId("seek").addEventListener("input", (event) => { player.currentTime = Number(event.target.value); this.follow(); });
    new ResizeObserver(() => this.draw()).observe(byId("track"));
    byId("save-film-json").addEventListener("click", () => {
      const { video, ...result } = this.item.answer;
      saveJson({ file: this.item.name, ...this.item.overTime, ...result }, `${stem(this.item.name)}.json`);
    });
    byId("save-video").addEventListener("click", async () =>
      saveBlob(await fetchBlob(this.item.answer.video), `${stem(this.item.name)}_overlay.mp4`));
  }

  /** Shows an item that is done. */
  async open(item) {
    if (this.item === item) { this.draw(); return; }
    this.item = item;
    const { frames, fps } = item.answer;
    this.duration = frames.length ? frames[frames.length - 1].seconds + 1 / fps : 0;
    byId("film-title").textContent = item.name;
    byId("seek").max = this.duration;
    byId("seek").value = 0;
    this.showDetections();
    this.frames.open(item);
    this.showOverTime();
    this.follow();
    this.draw();
    if (hasToken() && !item.videoUrl) item.videoUrl = URL.createObjectURL(await fetchBlob(item.answer.video));
    if (this.item === item) byId("player").src = item.videoUrl ?? item.answer.video;
  }

  /** Lets go of the video. */
  close() {
    this.item = null;
    const player = byId("player");
    if (!player.hasAttribute("src")) return;
    player.pause();
    player.removeAttribute("src");
    player.load();
  }

  /** What is chosen: how probabilities are smoothed, and which detections are too short to be shown. */
  overTime() {
    return { smoothing: document.querySelector("input[name=smoothing]:checked").value, withhold: Number(byId("withhold").value) };
  }

  showOverTime() {
    const { smoothing, withhold } = this.overTime();
    byId("smoothing-help").textContent = SMOOTHINGS[smoothing] + (smoothing === "none" ? "" : " The mask lags behind a fast camera.");
    const frames = withhold ? `up to ${several(withhold, "frame")}` : "none";
    byId("withhold-value").textContent = frames;
    byId("withhold").setAttribute("aria-valuetext", frames);
    byId("withhold-help").textContent = withhold
      ? `Detections of at most ${several(withhold, "frame")} in a row are not shown, even if they are polyps.`
      : "Every detection is shown, however brief.";
    const before = this.item?.overTime;
    byId("rerun").disabled = !before || (before.smoothing === smoothing && before.withhold === withhold);
    byId("rerun-help").textContent = byId("rerun").disabled ? "This video was predicted with these settings." : "The video is sent and predicted again.";
  }

  showDetections() {
    const { detections, frames } = this.item.answer;
    const seconds = detections.reduce((sum, { begin, end }) => sum + end - begin, 0);
    const numWithheld = frames.filter((frame) => frame.withheld).length;
    byId("film-verdict").textContent = detections.length ? `Polyp seen in ${several(detections.length, "stretch", "stretches")}` : "No polyp found";
    byId("film-verdict").classList.toggle("none", detections.length === 0);
    const numLost = frames.filter((frame) => frame.area_percent === null).length;
    const rest = (numWithheld ? ` In ${several(numWithheld, "frame")} a detection was too short and is withheld.` : "")
      + (numLost ? ` ${several(numLost, "frame")} could not be decoded.` : "");
    byId("withheld-key").hidden = numWithheld === 0;
    byId("film-detail").textContent = (detections.length
      ? `${seconds.toFixed(1)} of ${this.duration.toFixed(1)} seconds, ${several(frames.length, "frame")}.`
      : `in ${several(frames.length, "frame")}. The model found none; there may still be one.`) + rest;
    const { promise } = this.item.answer;
    byId("film-band").hidden = !promise;
    byId("film-promise").textContent = promise ? `(${promise})` : "";
    byId("stretches").hidden = detections.length === 0;
    byId("detections").replaceChildren(...detections.map(({ begin, end }) => {
      const button = element("button", `${clock(begin)} – ${clock(end)}`, { type: "button" });
      button.setAttribute("aria-label", `Go to the detection from ${clock(begin)} to ${clock(end)}`);
      button.addEventListener("click", () => { byId("player").currentTime = begin; byId("seek").value = begin; this.follow(begin); });
      const row = document.createElement("li");
      row.append(button);
      return row;
    }));
  }

  frameAt(seconds) {
    const { frames } = this.item.answer;
    let low = 0, high = frames.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (frames[middle].seconds <= seconds + 1e-3) low = middle;
      else high = middle - 1;
    }
    return frames[low];
  }

  /* While it plays, the figures follow each frame that is painted. */
  followFrames() {
    const player = byId("player");
    const step = () => {
      if (!this.item) return;
      this.follow();
      if (!player.paused && !player.ended) requestAnimationFrame(step);
    };
    requestAnimationFrame(step);
  }

  follow(seconds = byId("player").currentTime) {
    if (!this.item) return;
    const frame = this.frameAt(seconds);
    if (document.activeElement !== byId("seek")) byId("seek").value = seconds;
    byId("seek").setAttribute("aria-valuetext", `${clock(seconds)} of ${clock(this.duration)}`);
    fillFacts(byId("now"), frame ? [
      ["Time", clock(frame.seconds), `frame ${frame.frame}`],
      ["Regions", String(frame.components ?? "–"), frame.withheld ? "withheld: seen too briefly" : ""],
      ["Area", frame.area_percent === null ? "–" : percent(frame.area_percent), "of the frame"],
      ["Highest probability", probability(frame.max_probability), "in the frame"],
    ] : []);
    this.draw();
  }

  /** Paints the timeline: a band for each detection, the area as a curve, the place now. */
  draw() {
    if (!this.item) return;
    const canvas = byId("track");
    const ratio = window.devicePixelRatio || 1;
    const width = (canvas.width = Math.round(canvas.clientWidth * ratio));
    const height = (canvas.height = Math.round(canvas.clientHeight * ratio));
    if (!width) return;
    const colours = getComputedStyle(document.documentElement);
    const context = canvas.getContext("2d");
    const { frames, detections } = this.item.answer;
    const xOf = (seconds) => (seconds / (this.duration || 1)) * width;
    context.fillStyle = colours.getPropertyValue("--band");
    for (const { begin, end } of detections) context.fillRect(xOf(begin), 0, Math.max(2 * ratio, xOf(end) - xOf(begin)), height);
    const most = Math.max(1e-9, ...frames.map((frame) => frame.area_percent));
    context.beginPath();
    frames.forEach((frame, index) => context[index ? "lineTo" : "moveTo"](xOf(frame.seconds), height - 4 * ratio - ((height - 24 * ratio) * frame.area_percent) / most));
    context.fillStyle = colours.getPropertyValue("--edge");
    const wide = Math.max(2 * ratio, width / frames.length);
    for (const { seconds, withheld } of frames) if (withheld) context.fillRect(xOf(seconds), height - 4 * ratio, wide, 4 * ratio);
    context.strokeStyle = colours.getPropertyValue("--accent");
    context.lineWidth = 2 * ratio;
    context.stroke();
    context.fillStyle = colours.getPropertyValue("--ink");
    context.fillRect(Math.min(width - 2 * ratio, xOf(Number(byId("seek").value))), 0, 2 * ratio, height);
    context.font = `${12 * ratio}px system-ui, sans-serif`;
    if (most > 1e-6) context.fillText(`${percent(most)}`, 6 * ratio, 15 * ratio);
    canvas.setAttribute("aria-label", `Timeline of ${clock(this.duration)} with ${several(detections.length, "detection")}; listed beside it`);
  }
}
