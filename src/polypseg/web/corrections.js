/* The editor on the images of the page, without a project: what is corrected stays in the page until it is downloaded. */

import { correctedMask, stateOf } from "./found.js";
import { History } from "./history.js";
import { several } from "./text.js";

/** The editor's host for the page's items. `page` has: viewer, editor(), editable(), choose(item), changed(item). */
export class Corrections {
  constructor(page) {
    this.page = page;
    this.isSaved = true;
    window.addEventListener("beforeunload", (event) => { if (!this.isSaved) event.preventDefault(); });
  }

  /** Opens an item that is done and shown. */
  open(item) {
    const { viewer } = this.page;
    const { width, height } = item.answer.image;
    this.item = item;
    if (!correctedMask(item)) item.correction = { mask: viewer.found.mask.slice(), history: new History(), verdict: null };
    const { mask, history } = item.correction;
    const items = this.page.editable();
    const place = items.indexOf(item);
    const { map } = item.decoded;
    this.page.editor().open({
      name: item.name,
      place: items.length > 1 ? `${place + 1} of ${items.length}` : "",
      width, height, mask, history,
      picture: pictureOf(item.decoded.base, width, height),
      askMap: async () => map,
      hasPrevious: place > 0,
      hasNext: place + 1 < items.length,
    });
    this.showState();
  }

  edited() {
    this.item.correction.verdict = null;
    this.isSaved = false;
    this.showState();
    this.page.changed(this.item);
  }

  decide(state) {
    const { correction } = this.item;
    const isChanged = state === "accepted" && correction.history.canUndo;
    correction.verdict = isChanged ? (correction.mask.includes(1) ? "corrected" : "no-polyp") : state;
    this.isSaved = false;
    this.showState();
    this.page.changed(this.item);
    if (!this.move(1)) this.leave();
  }

  /** Opens the next item but `step - 1`; tells whether there is one. */
  move(step) {
    const items = this.page.editable();
    const next = items[items.indexOf(this.item) + step];
    if (!next) return false;
    this.page.choose(next).then(() => { if (this.page.viewer.item === next && next.decoded) this.open(next); });
    return true;
  }

  leave() {
    this.page.editor().close();
    if (!correctedMask(this.item)) this.item.correction = null;
    this.page.changed(this.item);
    this.page.choose(this.item);
    document.getElementById("edit").focus();
  }

  saveNow() {
    this.page.editor().say("Without a project nothing is saved automatically: download the masks.");
  }

  showState() {
    const numLooked = this.page.editable().filter((item) => stateOf(item) !== "predicted").length;
    this.page.editor().showState("none", this.isSaved || !numLooked ? "" : `${several(numLooked, "mask")} not downloaded`);
  }
}

function pictureOf(base, width, height) {
  const canvas = new OffscreenCanvas(width, height);
  canvas.getContext("2d").putImageData(new ImageData(base, width, height), 0, 0);
  return canvas;
}
