/* Training on the corrections: how far it is, what the new model gained, and which one is used. */

import { ask } from "./api.js";
import { element, several } from "./text.js";

const byId = (id) => document.getElementById(id);
const POLL_MILLISECONDS = 1_000;
const BUSY = ["training", "comparing"];
const TITLES = {
  idle: "The model can learn from what was corrected.",
  training: "Training",
  comparing: "Comparing the new model with the old one",
  waiting: "The new model waits: it is not better by the figures. Use it all the same?",
  failed: "Training failed; the old model stays.",
  done: "The new model is in use.",
};

/** The host has modelChanged(), called when another model may be served. */
export class Retrain {
  constructor(host) {
    Object.assign(this, { host, hasPrevious: false, last: "" });
    byId("retrain-start").addEventListener("click", () => this.act("/project/retrain"));
    byId("retrain-new").addEventListener("click", () => this.act("/project/model?use=new"));
    byId("retrain-back").addEventListener("click", () => this.act("/project/model?use=previous", "The old model is in use again."));
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

  async act(path, words = "") {
    try {
      await ask(path, "POST");
      await this.host.modelChanged();
      await this.look();
      if (words) byId("retrain-words").textContent = words;
    } catch (problem) {
      this.tell(problem);
    }
  }

  tell({ title, detail }) {
    byId("retrain-words").textContent = `${title}${detail ? `: ${detail}` : ""}`;
  }

  show(state) {
    const { status, epoch, epochs, seconds, message, comparison } = state;
    const isBusy = BUSY.includes(status);
    byId("retrain").hidden = false;
    byId("retrain-words").textContent = [TITLES[status] ?? status, message].filter(Boolean).join(" ");
    byId("retrain-bar").hidden = byId("retrain-progress").hidden = !isBusy;
    if (status === "training" && epochs) Object.assign(byId("retrain-bar"), { max: epochs, value: epoch ?? 0 });
    else byId("retrain-bar").removeAttribute("value");
    byId("retrain-progress").textContent = [epochs ? `epoch ${epoch ?? 0} of ${epochs}` : "", seconds ? `${Math.round(seconds)} s` : ""].filter(Boolean).join(", ");
    byId("retrain-start").disabled = isBusy;
    byId("retrain-new").hidden = status !== "waiting";
    byId("retrain-back").hidden = !this.hasPrevious && status !== "done";
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

const figure = (value) => (value === null ? "–" : value.toFixed(3));
const signed = (value) => (value === null ? "–" : `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(3)}`);

/* Frames without a polyp, and in how many of them each model marks something. */
function emptyOnes({ negatives, old_marked: old, new_marked: fresh }) {
  return negatives ? `; ${negatives} without a polyp, marked in ${old} and ${fresh}` : "";
}
