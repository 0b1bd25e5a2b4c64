/* Training on the corrections: how far it is, what the new model gained, and which one is used. */

import { ask } from "./api.js";
import { element, several } from "./text.js";

const byId = (id) => document.getElementById(id);
const POLL_MILLISECONDS = 1_000;
const BUSY = ["training", "comparing"];
const TITLES = {
  idle: "The model can be trained on the corrections.",
  training: "Training",
  comparing: "Comparing the new model with the old one",
  waiting: "The new model is not better on these frames; the old one stays in use.",
  kept: "The old model is in use; the new one is kept.",
  cancelled: "The training was cancelled; the old model stays in use.",
  failed: "Training failed; the old model stays in use.",
  done: "The new model is in use.",
};

/** The host has modelChanged(), called when another model may be served. */
export class Retrain {
  constructor(host) {
    Object.assign(this, { host, hasPrevious: false, last: "" });
    byId("retrain-start").addEventListener("click", () => this.act("/project/retrain"));
    byId("retrain-cancel").addEventListener("click", () => this.cancel());
    byId("retrain-new").addEventListener("click", () => this.act("/project/model?use=new"));
    byId("retrain-back").addEventListener("click", () => this.act("/project/model?use=previous", "The previous model is in use again."));
  }

  /** Shows how training stands; asks again while it runs. */
  async look() {
    clearTimeout(this.timer);
    try {
      this.show(await ask("/project/retrain"));
    } catch (problem) {
      if (problem.status === 404) { byId("retrain").hidden = true; return; }
      this.tell(problem);
      this.timer = setTimeout(() => this.look(), 5 * POLL_MILLISECONDS);
    }
  }

  /* A model takes a moment to open: until it answers, that is said and nothing else can be pressed. */
  async act(path, words = "", method = "POST") {
    const buttons = [...document.querySelectorAll("#retrain button")];
    clearTimeout(this.timer);
    for (const button of buttons) button.disabled = true;
    byId("retrain-words").textContent = "One moment …";
    try {
      await ask(path, method);
      await this.host.modelChanged();
      await this.look();
      if (words) byId("retrain-words").textContent = words;
    } catch (problem) {
      await this.look();
      this.tell(problem);
    } finally {
      for (const button of buttons) button.disabled = button.id === "retrain-start" && BUSY.includes(this.last);
    }
  }

  async cancel() {
    await this.act("/project/retrain", "", "DELETE");
    if (byId("retrain-cancel").hidden) byId("retrain-start").focus(); // it had the focus, and is gone
  }

  tell({ title, detail }) {
    byId("retrain-words").textContent = `${title}${detail ? `: ${detail}` : ""}`;
  }

  show(state) {
    const { status, epoch, epochs, seconds, message, comparison, better } = state;
    const isBusy = BUSY.includes(status);
    byId("retrain").hidden = false;
    const title = TITLES[status === "waiting" && better ? "kept" : status] ?? status;
    byId("retrain-words").textContent = status === "failed" ? `${title} ${message}` : title; // the table tells the rest
    byId("retrain-bar").hidden = byId("retrain-progress").hidden = !isBusy;
    if (status === "training" && epochs) Object.assign(byId("retrain-bar"), { max: epochs, value: epoch ?? 0 });
    else byId("retrain-bar").removeAttribute("value");
    byId("retrain-progress").textContent = [epochs ? `epoch ${epoch ?? 0} of ${epochs}` : "", seconds ? lasting(seconds) : ""].filter(Boolean).join(", ");
    byId("retrain-start").disabled = isBusy;
    byId("retrain-cancel").hidden = !isBusy;
    byId("retrain-new").hidden = status !== "waiting";
    byId("retrain-new").textContent = better ? "Use the new model" : "Use it anyway";
    byId("retrain-back").hidden = status === "waiting" || isBusy || (!this.hasPrevious && status !== "done");
    this.compare(comparison);
    if (status === "done" && BUSY.includes(this.last)) this.host.modelChanged();
    this.last = status;
    if (isBusy) this.timer = setTimeout(() => this.look(), POLL_MILLISECONDS);
  }

  compare(comparison) {
    const sets = [["project", "This project"], ["reference", "Reference"]].filter(([key]) => comparison?.[key]);
    byId("retrain-table").hidden = sets.length === 0;
    byId("retrain-reasons").replaceChildren(...(comparison?.reasons ?? []).map((words) => element("li", words)));
    byId("retrain-table").tBodies[0].replaceChildren(...sets.map(([key, words]) => {
      const { old, new: fresh, difference, low, high, frames } = comparison[key];
      const row = document.createElement("tr");
      const head = element("th", words, { scope: "row" }), gain = element("td", signed(difference));
      head.append(element("small", several(frames, "frame") + emptyOnes(comparison[key])));
      if (low !== null && high !== null) gain.append(element("small", `${signed(low)} to ${signed(high)}`));
      row.append(head, element("td", figure(old)), element("td", figure(fresh)), gain);
      return row;
    }));
  }
}

const lasting = (seconds) => (seconds < 120 ? `${Math.round(seconds)} s` : `${Math.round(seconds / 60)} min`);
const figure = (value) => (value === null ? "–" : value.toFixed(3));
const signed = (value) => (value === null ? "–" : `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(3)}`);

/* Frames without a polyp, and in how many of them each model marks something. */
function emptyOnes({ negatives, old_marked: old, new_marked: fresh }) {
  return negatives ? `; ${negatives} without a polyp, marked in ${old} and ${fresh}` : "";
}
