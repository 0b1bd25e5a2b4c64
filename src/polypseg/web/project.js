/* A project: the frames of a folder, listed with their states, corrected one after another, saved as they are drawn. */

import { ask, fetchBlob, hasToken } from "./api.js";
import { History } from "./history.js";
import { decodePicture, pixelsOf } from "./paint.js";
import { FrameList, OPEN, STATE_WORDS } from "./project_list.js";
import { Retrain } from "./retrain.js";
import { Saver } from "./saver.js";
import { saveBlob } from "./text.js";

const byId = (id) => document.getElementById(id);
const WORDS = { saved: "Saved", pending: "Not saved yet", saving: "Saving …", failed: "Not saved", conflict: "Somebody else saved it" };
const FIRST_LOOK = 3_000, LAST_LOOK = 60_000;
const STORED_NAME = "polypseg-labeller";
const pathOf = (id, part) => `/project/frames/${encodeURIComponent(id)}/${part}`;

/** The project of the page, and the editor's host for its frames. `page` has: editor(), takeHost(host), shown(), modelChanged(). */
export class Project {
  constructor(page) {
    Object.assign(this, { page, sessions: new Map(), current: null, ahead: null });
    this.list = new FrameList({ open: (id) => this.begin(id), changed: () => this.load() });
    this.retrain = new Retrain({ modelChanged: () => this.modelChanged() });
    byId("project-start").addEventListener("click", () => this.begin(this.list.next()));
    byId("project-export").addEventListener("click", () => this.export());
    byId("labeller").value = stored(STORED_NAME);
    byId("labeller").addEventListener("input", (event) => store(STORED_NAME, event.target.value.trim()));
    byId("editor-retry").addEventListener("click", () => this.current?.saver.flush());
    byId("conflict-mine").addEventListener("click", () => this.settle(true));
    byId("conflict-theirs").addEventListener("click", () => this.settle(false));
    window.addEventListener("beforeunload", (event) => { if (this.unsaved().length) event.preventDefault(); });
    document.addEventListener("visibilitychange", () => { if (document.hidden) for (const { saver } of this.unsaved()) saver.flush(); });
  }

  /** Shows the project, where the server has one. */
  async look() {
    try {
      this.facts = await ask("/project");
    } catch { return; } // none is open, or a token is asked for first
    byId("project").hidden = false;
    this.page.shown();
    await this.load();
    this.retrain.look();
  }

  async load() {
    try {
      this.facts = await ask("/project");
      this.retrain.hasPrevious = Boolean(this.facts.previous_model);
      const { frames } = await ask(`/project/frames?${this.list.query()}`);
      this.list.show(this.facts, frames);
      byId("project-fault").textContent = "";
      this.watch();
    } catch (problem) {
      byId("project-fault").textContent = `The frames cannot be listed: ${problem.title}. ${problem.detail ?? ""}`;
    }
  }

  /* Masks are proposed in the background: until all are there, the list is asked for again, less often where nothing
     changes. */
  watch() {
    clearTimeout(this.timer);
    const numNew = this.facts.states.new ?? 0;
    this.pause = numNew === this.numNew ? Math.min(LAST_LOOK, 2 * this.pause) : FIRST_LOOK;
    this.numNew = numNew;
    if (numNew) this.timer = setTimeout(() => this.lookAgain(), this.pause);
  }

  /* Nothing moves under a pointer or a finger that is about to choose. */
  async lookAgain() {
    const isChosen = this.page.editor().isOpen || byId("frames").matches(":hover, :focus-within");
    if (!isChosen && !document.hidden) { await this.load(); return; }
    this.facts = await ask("/project").catch(() => this.facts);
    if (!this.page.editor().isOpen) this.list.recount(this.facts);
    this.watch();
  }

  get isOpen() {
    return this.facts !== undefined;
  }

  /* Another model proposes other masks. */
  async modelChanged() {
    this.ahead = null;
    this.page.modelChanged();
    await this.load();
  }

  unsaved() {
    return [...this.sessions.values()].filter(({ saver }) => !saver.isSaved);
  }

  /** Opens a frame in the editor; asks for the labeller's name first. */
  begin(id) {
    if (id === undefined) return;
    if (!byId("labeller").value.trim()) {
      byId("project-fault").textContent = "Enter your name first: it is stored with each mask.";
      byId("labeller").focus();
      return;
    }
    byId("project-fault").textContent = "";
    this.page.takeHost(this);
    this.open(id);
  }

  async open(id) {
    const number = (this.number = (this.number ?? 0) + 1);
    let session;
    try {
      session = await (this.ahead?.id === id ? this.ahead.promise : this.fetch(id));
    } catch (problem) {
      if (number === this.number) this.refused(id, problem);
      return;
    }
    if (number !== this.number) return;
    this.current = session;
    const { record, mask, history, picture } = session;
    const { place, count, before, after } = this.list.around(id);
    const { width, height } = record;
    this.page.editor().open({
      name: record.name, width, height, mask, history, picture,
      place: `${place} of ${count}`,
      hasPrevious: before !== undefined,
      hasNext: after !== undefined,
      askMap: () => this.mapOf(record),
    });
    this.showState(session);
    this.ahead = after === undefined ? null : { id: after, promise: this.fetch(after) };
    this.ahead?.promise.catch(() => { this.ahead = null; }); // told when it is opened
  }

  refused(id, problem) {
    this.ahead = null;
    const words = `${this.list.find(id).name} cannot be opened: ${problem.title}. ${problem.detail ?? ""}`;
    if (this.page.editor().isOpen) this.page.editor().say(words);
    byId("project-fault").textContent = words;
  }

  /* The frame with its mask: what is drawn here and not saved yet, else what was saved, else what the model proposes. */
  async fetch(id) {
    const record = this.list.find(id);
    const old = this.sessions.get(id);
    const picture = await decodePicture(await fetchBlob(pathOf(id, "image")));
    if (!picture) throw Object.assign(new Error(), { title: "the browser cannot show the image", detail: "" });
    if (old && !old.saver.isSaved) return Object.assign(old, { picture });
    const mask = await this.maskOf(record);
    if (mask.length !== record.width * record.height) throw Object.assign(new Error(), { title: "the mask has another size than the image", detail: "" });
    const isSame = old && old.record.revision === record.revision;
    const session = { record, mask, picture, history: isSame ? old.history : new History() };
    session.saver = new Saver(session, { labeller: () => byId("labeller").value.trim(), onChange: (_, answer) => this.saved(session, answer) });
    this.sessions.set(id, session);
    return session;
  }

  async maskOf({ id, state }) {
    const asked = OPEN.includes(state) ? null : fetchBlob(pathOf(id, "mask"));
    const saved = await asked?.catch((problem) => { if (problem.status !== 404) throw problem; });
    const map = await levels(saved ?? await fetchBlob(pathOf(id, "proposal")));
    return map.map((level) => (level > 127 ? 1 : 0));
  }

  async mapOf({ id }) {
    return fetchBlob(pathOf(id, "probability")).then(levels).catch(() => null);
  }

  saved(session, answer) {
    if (answer) this.list.update(session.record);
    if (session === this.current) this.showState(session);
    else if (this.current) this.showState(this.current); // it tells of the others, too
  }

  showState({ saver, record }) {
    if (!this.page.editor().isOpen) return;
    const numOthers = this.unsaved().filter((other) => other !== this.current).length;
    const why = saver.kind === "failed" ? `: ${saver.problem.title ?? "the page failed"}` : "";
    const state = saver.kind === "saved" && record.state !== "new" ? `, ${STATE_WORDS[record.state]}` : "";
    const others = numOthers ? `; ${numOthers} more not saved` : "";
    const words = saver.isSaved && record.revision === 0 ? "Proposed" : WORDS[saver.kind];
    this.page.editor().showState(words === "Proposed" ? "proposed" : saver.kind, `${words}${why}${words === "Proposed" ? "" : state}${others}`);
    byId("editor-conflict").hidden = saver.kind !== "conflict";
    if (saver.kind === "conflict") this.tellConflict(saver);
  }

  async tellConflict(saver) {
    const last = await saver.latest().catch(() => null);
    const who = last ? `${last.labeller || "Somebody"} saved it as ${STATE_WORDS[last.state]} at ${new Date(last.time).toLocaleString()}. ` : "";
    byId("conflict-detail").textContent = `${who}Your mask is not lost: keep it, or take the saved one.`;
    if (!byId("editor-conflict").hidden) byId("conflict-theirs").focus();
  }

  async settle(keepsMine) {
    const { saver, record } = this.current;
    byId("editor-conflict").hidden = true;
    if (keepsMine) {
      await saver.keepMine().catch((problem) => saver.failed(problem));
      return;
    }
    saver.drop();
    this.sessions.delete(record.id);
    await this.load();
    await this.open(record.id);
  }

  /* The editor's host. */

  edited() {
    this.current.saver.change("corrected", true);
  }

  /** A mask that was changed stays `corrected` when it is accepted, or `no-polyp` where all of it was wiped away; one
      that nobody changed is `accepted`. */
  decide(wanted) {
    const { saver, record, history, mask } = this.current;
    const isChanged = wanted === "accepted" && (history.canUndo || record.state === "corrected");
    const state = isChanged && !mask.includes(1) ? "no-polyp" : wanted;
    const isCorrected = isChanged && state === "accepted";
    if (!isCorrected) saver.change(state, false);
    else if (record.state !== "corrected") saver.change("corrected", true);
    saver.flush();
    if (!this.move(1)) this.page.editor().say("This was the last frame of the list.");
  }

  move(step) {
    const { before, after } = this.list.around(this.current.record.id);
    const id = step < 0 ? before : after;
    if (id === undefined) return false;
    this.close();
    this.open(id);
    return true;
  }

  /* Masks and pictures of frames that are saved are let go of; how they were drawn is kept for undo. */
  close() {
    const { saver, record } = this.current;
    saver.flush().then(() => {
      const session = this.sessions.get(record.id);
      if (session && session !== this.current && session.saver.isSaved) session.picture = null;
    });
  }

  async leave() {
    if (!this.current) return;
    const { record, saver } = this.current;
    this.page.editor().close();
    this.current = null;
    await Promise.all([saver, ...this.unsaved().map((session) => session.saver)].map((one) => one.flush()));
    await this.load();
    this.list.focus(record.id);
  }

  saveNow() {
    this.current.saver.flush();
  }

  async export() {
    if (!hasToken()) { location.assign("/project/export"); return; }
    saveBlob(await fetchBlob("/project/export"), `${this.facts.name}.zip`);
  }
}

async function levels(blob) {
  const pixels = pixelsOf(await createImageBitmap(blob, { colorSpaceConversion: "none", premultiplyAlpha: "none" }));
  const map = new Uint8Array(pixels.length / 4);
  for (let at = 0; at < map.length; at++) map[at] = pixels[4 * at];
  return map;
}

function stored(name) {
  try { return localStorage.getItem(name) ?? ""; } catch { return ""; } // storage may be forbidden
}

function store(name, value) {
  try { localStorage.setItem(name, value); } catch { /* it holds until the page is left */ }
}
