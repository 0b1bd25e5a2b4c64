/* The page: takes files, keeps the strip, shows the state of the chosen item. */

import { Problem, ask, forget, setToken } from "./api.js";
import { Corrections } from "./corrections.js";
import { Editor } from "./editor.js";
import { Film } from "./film.js";
import { Items, UNFINISHED, isMedia } from "./items.js";
import { Many, filesOf, filesOfFolder } from "./many.js";
import { Project } from "./project.js";
import { Strip } from "./strip.js";
import { hint, several } from "./text.js";
import { Viewer } from "./viewer.js";

const byId = (id) => document.getElementById(id);

let current = null;
let decisionLevel = 0.5; // a region is found where one of its pixels reaches it
let model = askModel();
const items = new Items(changed, getOptions);
const viewer = new Viewer({ rerun: () => current && items.start(current), chosen: chooseThreshold, drop: dropCorrection });
const film = new Film({ rerun: rerunFilm, take: (found) => take(found, false), level: () => decisionLevel });
const strip = new Strip(byId("strip"), { onChoose: choose, onRemove: remove, onSelect: () => many.show() });
const corrections = new Corrections({ viewer, editor: () => editor, editable: () => many.editable(), choose, changed: looked });
const many = new Many({ items, strip, remove, corrections, edit });
const project = new Project({ editor: () => editor, takeHost: (host) => { editor.host = host; }, shown: () => render(), modelChanged: () => { model = askModel(); } });
const editor = new Editor(corrections);

async function askModel() {
  try {
    const { models: [served] } = await ask("/v1/models");
    byId("model").textContent = [served.name, served.version].filter(Boolean).join(" ") || "model without a name";
    byId("model").title = `Input of ${served.size} × ${served.size} pixels; threshold ${served.threshold}; run by ${served.engine}`;
    byId("model").hidden = false;
    decisionLevel = Math.max(served.threshold, served.peak_threshold ?? 0);
    return served;
  } catch (problem) {
    if (problem.status === 401) byId("token").hidden = false;
    return { attention_levels: [] };
  }
}

async function getOptions() {
  return { hasAttention: (await model).attention_levels.length > 0, tta: byId("tta").value, ...film.overTime() };
}

/* Files that were chosen one by one are tried whatever they are; of a folder only images and videos are taken. */
function take(found, isFolder) {
  const wanted = isFolder ? found.filter(({ file }) => isMedia(file)) : found;
  const added = wanted.map(({ file, folder, isEmpty = false }) => items.add(file, { folder, isEmpty }));
  if (added.some((item) => item.folder) && !byId("group-by").value) byId("group-by").value = "folder";
  many.arrange();
  if (added.length) choose(added[0]);
  if (wanted.length < found.length) say(`Skipped ${several(found.length - wanted.length, "file")} that cannot be an image or a video.`);
}

function choose(item) {
  current = item;
  return render();
}

function rerunFilm() {
  items.start(current);
  byId("cancel").focus(); // the button that was pressed is hidden while the video is predicted
}

async function edit(item) {
  await choose(item);
  if (viewer.item !== item || !item.decoded) return;
  editor.host = corrections;
  corrections.open(item);
}

/* A correction was made or dropped. */
function looked(item) {
  strip.show(item);
  many.show();
  if (item === viewer.item) viewer.plan();
}

function dropCorrection() {
  const { item } = viewer;
  item.correction = null;
  byId("edit").focus(); // the button that was pressed is hidden
  looked(item);
}

/* A threshold holds for this image, or for all of them and those to come. */
function chooseThreshold(threshold, smallest) {
  const isShared = byId("for-all").checked;
  if (isShared) items.shared = { threshold, smallest };
  for (const item of isShared ? items.all : [viewer.item]) if (item.kind === "image") Object.assign(item, { threshold, smallest });
  viewer.plan();
  many.recount();
}

function remove(item) {
  const place = items.all.indexOf(item);
  items.remove(item);
  strip.remove(item);
  many.judge();
  many.arrange();
  many.show();
  if (current === item) choose(items.all[Math.min(place, items.all.length - 1)] ?? null);
  if (!current) byId("choose").focus();
}

function changed(item) {
  strip.show(item);
  many.show();
  if (item.state === "queued") many.arrange();
  if (item.state === "done" || item.state === "queued") many.judge();
  if (item.state === "done" && item.kind === "image" && (item.threshold !== null || item.smallest)) many.recount();
  if (item === current) render();
  if (item.problem?.status === 401) byId("token").hidden = false;
}

async function render() {
  const item = current;
  const isDone = item?.state === "done";
  byId("add").classList.toggle("compact", items.all.length > 0 || project.isOpen);
  byId("strip").hidden = items.all.length === 0;
  byId("waiting").hidden = !UNFINISHED.includes(item?.state);
  byId("fault").hidden = item?.state !== "failed";
  strip.mark(item);
  if (!isDone || item.kind === "image") film.close();
  if (!byId("waiting").hidden) showWaiting(item);
  if (!byId("fault").hidden) showFault(item);
  if (isDone) {
    await (item.kind === "image" ? viewer : film).open(item);
    if (item !== current || item.state !== "done") return;
    say(`${item.name}: ${item.kind === "image" ? viewer.sentence() : byId("film-verdict").textContent}`);
  }
  byId("result").hidden = !(isDone && item.kind === "image");
  byId("film").hidden = !(isDone && item.kind === "video");
}

function showWaiting(item) {
  const titles = {
    queued: `${item.name} is waiting`,
    uploading: `Sending ${item.name}`,
    working: item.kind === "image" ? `Predicting ${item.name}` : `Predicting each frame of ${item.name}`,
    busy: "The server is busy",
  };
  const { num_frames: numFrames, frames_done: numDone } = item.job ?? {};
  const details = {
    uploading: `${Math.round(100 * (item.share ?? 0))} %`,
    working: item.kind === "video" ? (numFrames ? `frame ${numDone} of ${numFrames}` : "waiting for other videos") : "",
    busy: `Trying again in ${item.busySeconds} s; nothing is lost.`,
  };
  byId("waiting-title").textContent = titles[item.state];
  byId("waiting-detail").textContent = details[item.state] ?? "";
  if (item.share === null) byId("waiting-bar").removeAttribute("value");
  else byId("waiting-bar").value = item.share;
  say(titles[item.state]);
}

function showFault(item) {
  const { problem } = item;
  const isKnown = problem instanceof Problem || problem.title;
  byId("fault-title").textContent = isKnown ? problem.title : "The page could not show this";
  byId("fault-detail").textContent = `${item.name}${problem.detail ? `: ${problem.detail}` : ""}`;
  byId("fault-hint").textContent = isKnown ? hint(problem, item.kind) : "Try another browser, or the REST API.";
  say(`${byId("fault-title").textContent}. ${byId("fault-detail").textContent}. ${byId("fault-hint").textContent}`);
}

function say(words) {
  if (byId("status").textContent !== words) byId("status").textContent = words;
}

function isDark() {
  return (document.documentElement.dataset.theme ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
}

function showTheme() {
  byId("theme").textContent = isDark() ? "Light" : "Dark";
  byId("theme").setAttribute("aria-label", isDark() ? "Light theme" : "Dark theme");
  if (viewer.item?.decoded) viewer.plan();
  film.draw();
}

function switchTheme() {
  const theme = isDark() ? "light" : "dark";
  document.documentElement.dataset.theme = theme;
  try { localStorage.setItem("polypseg-theme", theme); } catch { /* forbidden storage: it holds until the page is left */ }
  showTheme();
}

function connectFiles() {
  const one = (files) => [...files].map((file) => ({ file, folder: "" }));
  byId("choose").addEventListener("click", () => byId("file").click());
  byId("choose-folder").addEventListener("click", () => byId("folder").click());
  byId("file").addEventListener("change", (event) => { take(one(event.target.files), false); event.target.value = ""; });
  byId("folder").addEventListener("change", (event) => { take(filesOfFolder(event.target.files), true); event.target.value = ""; });
  document.addEventListener("dragover", (event) => { event.preventDefault(); byId("drop").classList.add("over"); });
  document.addEventListener("dragleave", (event) => { if (!event.relatedTarget) byId("drop").classList.remove("over"); });
  document.addEventListener("drop", async (event) => {
    event.preventDefault();
    byId("drop").classList.remove("over");
    const found = await filesOf(event.dataTransfer);
    take(found, found.some(({ folder }) => folder));
  });
  document.addEventListener("paste", (event) => { if (event.clipboardData.files.length) take(one(event.clipboardData.files), false); });
  byId("edit").addEventListener("click", () => edit(current));
  byId("for-all").addEventListener("change", (event) => { if (event.target.checked) chooseThreshold(viewer.item.threshold, viewer.item.smallest); });
  for (const button of document.querySelectorAll("[data-example]")) {
    button.addEventListener("click", async () => {
      const answer = await fetch(`/page/examples/${button.dataset.example}`).catch(() => null);
      const blob = answer?.ok ? await answer.blob() : new Blob([]);
      const file = new File([blob], `synthetic_${button.dataset.example}`, { type: "image/jpeg" });
      take([{ file, folder: "", isEmpty: button.dataset.polyps === "0" }], false);
    });
  }
}

function connectRest() {
  byId("theme").addEventListener("click", switchTheme);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", showTheme);
  byId("cancel").addEventListener("click", () => remove(current));
  byId("again").addEventListener("click", () => items.start(current));
  byId("token-form").addEventListener("submit", (event) => {
    event.preventDefault();
    setToken(byId("token-value").value);
    byId("token").hidden = true;
    model = askModel();
    project.look();
    for (const item of items.all.filter((other) => other.problem?.status === 401)) items.start(item);
  });
  window.addEventListener("pagehide", (event) => {
    if (!event.persisted) for (const item of items.all) if (item.job) forget(item.job.path);
  });
}

connectFiles();
connectRest();
showTheme();
project.look();
