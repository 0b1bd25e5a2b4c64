/* The list of a project's frames: states, order, filter, progress. */

import { element, several } from "./text.js";

const byId = (id) => document.getElementById(id);
const STATES = ["new", "proposed", "corrected", "accepted", "no-polyp", "rejected"];
export const OPEN = ["new", "proposed"]; // nobody looked at them
export const STATE_WORDS = { new: "new", proposed: "proposed", corrected: "corrected", accepted: "accepted", "no-polyp": "no polyp", rejected: "rejected" };

/** The host has: open(id), changed() when order or filter do. */
export class FrameList {
  constructor(host) {
    Object.assign(this, { host, frames: [], seed: Math.floor(1e6 * Math.random()) });
    for (const state of STATES) byId("frames-state").append(element("option", STATE_WORDS[state], { value: state }));
    for (const id of ["frames-order", "frames-state"]) byId(id).addEventListener("change", () => host.changed());
    byId("frames-again").addEventListener("click", () => host.changed());
  }

  /** What is asked for. */
  query() {
    const query = new URLSearchParams({ order: byId("frames-order").value });
    if (byId("frames-state").value) query.set("state", byId("frames-state").value);
    if (query.get("order") === "random") query.set("seed", this.seed);
    return query;
  }

  show(facts, frames) {
    this.frames = frames;
    byId("project-name").textContent = facts.name;
    byId("project-folder").textContent = facts.folder;
    byId("labellers").replaceChildren(...facts.labellers.map((name) => element("option", "", { value: name })));
    byId("frames").replaceChildren(...frames.map((frame) => this.row(frame)));
    byId("frames-none").hidden = frames.length > 0;
    this.showNotes(facts.left_out ?? [], facts.notes ?? []);
    this.recount(facts);
  }

  recount(facts) {
    this.counts = { ...facts.states };
    this.showProgress();
  }

  /* What could not be used of the folder, and what was found when it was opened. */
  showNotes(leftOut, notes) {
    const lines = [...notes, ...leftOut.map(({ name, reason }) => `${name}: ${reason}`)];
    byId("project-notes").hidden = lines.length === 0;
    byId("project-notes").firstElementChild.textContent = leftOut.length ? `${several(leftOut.length, "file")} not used` : "Notes";
    byId("project-notes").lastElementChild.replaceChildren(...lines.map((line) => element("li", line)));
  }

  showProgress() {
    const total = STATES.reduce((sum, state) => sum + (this.counts[state] ?? 0), 0);
    const numOpen = OPEN.reduce((sum, state) => sum + (this.counts[state] ?? 0), 0);
    byId("project-bar").max = Math.max(1, total);
    byId("project-bar").value = total - numOpen;
    byId("project-progress").textContent = `${total - numOpen} of ${several(total, "frame")} reviewed`;
    byId("project-counts").textContent = STATES.filter((state) => this.counts[state]).map((state) => `${this.counts[state]} ${STATE_WORDS[state]}`).join(", ")
      + (this.counts.new ? "; masks are being proposed" : "");
    byId("project-start").disabled = this.frames.length === 0;
  }

  row(frame) {
    const row = document.createElement("li"), button = element("button", "", { type: "button" });
    button.dataset.frame = frame.id;
    button.addEventListener("click", () => this.host.open(frame.id));
    row.append(button);
    fill(button, frame);
    return row;
  }

  find(id) {
    return this.frames.find((frame) => frame.id === id);
  }

  /** The frame after which work goes on: the first that nobody looked at, else the first. */
  next() {
    return (this.frames.find((frame) => OPEN.includes(frame.state)) ?? this.frames[0])?.id;
  }

  /** Its place in the list, and the ids before and after. */
  around(id) {
    const place = this.frames.findIndex((frame) => frame.id === id);
    return { place: place + 1, count: this.frames.length, before: this.frames[place - 1]?.id, after: this.frames[place + 1]?.id };
  }

  /** Shows a frame's new record. */
  update(record) {
    const own = this.find(record.id);
    if (own && own !== record) Object.assign(own, record); // the list was loaded again since
    const button = [...byId("frames").querySelectorAll("button")].find((other) => other.dataset.frame === String(record.id));
    if (!button) return;
    this.counts[button.dataset.state] = Math.max(0, (this.counts[button.dataset.state] ?? 0) - 1);
    this.counts[record.state] = (this.counts[record.state] ?? 0) + 1;
    fill(button, record);
    this.showProgress();
  }

  focus(id) {
    const button = [...byId("frames").querySelectorAll("button")].find((other) => other.dataset.frame === String(id));
    (button ?? byId("project-start")).focus();
  }
}

function fill(button, { name, state, doubt, group, labeller }) {
  button.dataset.state = state;
  const details = [group, doubt === null || doubt === undefined ? "" : `doubt ${doubt.toFixed(2)}`, labeller].filter(Boolean).join(" · ");
  button.replaceChildren(element("span", name, { className: "frame-name" }), element("span", details, { className: "faint" }), element("span", STATE_WORDS[state] ?? state, { className: "frame-state" }));
}
