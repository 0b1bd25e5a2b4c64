/* The editor of a mask: tools, the whole mask at once, undo, and what is decided of a frame. What is saved, and where,
   is its host's affair. */

import { EditorInput } from "./editor_input.js";
import { fillKeys } from "./editor_keys.js";
import { areaOf, drawLine, smoothed, withHoleFilled, withoutHoles, withoutRegion } from "./editor_tools.js";
import { EditorView } from "./editor_view.js";
import { boxOfRuns, differingRuns, tidyRuns, turnOver } from "./history.js";
import { Draft } from "./polygon.js";
import { pixels } from "./text.js";

const byId = (id) => document.getElementById(id);
const LARGEST = 401;
const HINTS = {
  brush: "Draw what belongs to the polyp.",
  eraser: "Erase what does not belong to the polyp.",
  polygon: "Click the corners one after another; click the first again to close it.",
  propose: "Click two opposite ends of a polyp that was missed.",
  fill: "Click a hole to fill it.",
  remove: "Click a region to remove it.",
  hand: "Drag to move the view.",
};

/** Edits one frame after another. The host has: edited(), decide(state), move(step), leave(), saveNow(). */
export class Editor {
  constructor(host) {
    Object.assign(this, { host, frame: null, tool: "brush", size: 15, stroke: null, isHeld: false });
    this.view = new EditorView(byId("editor-canvas"));
    this.draft = new Draft(this);
    this.input = new EditorInput(this, byId("editor"), byId("editor-canvas"));
    fillKeys(byId("editor-keys-list"));
    this.connect();
  }

  connect() {
    const on = (id, act) => byId(id).addEventListener("click", act);
    for (const button of document.querySelectorAll("button[data-tool]")) button.addEventListener("click", () => this.choose(button.dataset.tool));
    for (const button of document.querySelectorAll("[data-decide]")) button.addEventListener("click", () => this.decide(button.dataset.decide));
    on("editor-undo", () => this.undo());
    on("editor-redo", () => this.redo());
    on("editor-smooth", () => this.smooth());
    on("editor-holes", () => this.fillHoles());
    on("editor-hide", () => this.toggleMask());
    on("editor-in", () => this.zoom(1.25));
    on("editor-out", () => this.zoom(0.8));
    on("editor-fit", () => this.fit());
    on("editor-previous", () => this.move(-1));
    on("editor-next", () => this.move(1));
    on("editor-leave", () => this.host.leave());
    on("editor-keys", () => this.showKeys());
    on("editor-keys-close", () => byId("editor-help").close());
    byId("editor-size").addEventListener("input", (event) => this.setSize(Number(event.target.value)));
    byId("editor-opacity").addEventListener("input", (event) => {
      this.view.opacity = Number(event.target.value);
      byId("editor-opacity-value").textContent = `${Math.round(100 * this.view.opacity)} %`;
      this.view.redrawAll();
    });
  }

  /** Opens a frame: { name, place, width, height, picture, mask, history, askMap(), hasPrevious, hasNext }. */
  open(frame) {
    const isNew = this.frame === null;
    Object.assign(this, { frame, stroke: null, isHeld: false });
    document.body.classList.add("editing");
    byId("editor").hidden = false;
    byId("editor-title").textContent = frame.name;
    byId("editor-place").textContent = frame.place;
    byId("editor-previous").disabled = !frame.hasPrevious;
    byId("editor-next").disabled = !frame.hasNext;
    this.view.open(frame);
    if (isNew) this.setSize(Math.max(3, Math.round(0.025 * Math.max(frame.width, frame.height))));
    this.choose(this.tool);
    this.refresh();
    byId("editor-canvas").setAttribute("aria-label",
      `Mask of ${frame.name}, ${frame.width} by ${frame.height} pixels. Arrow keys move the cursor, space draws, question mark lists the keys.`);
    byId("editor-canvas").focus({ preventScroll: true });
  }

  close() {
    this.frame = null;
    this.view.close();
    document.body.classList.remove("editing");
    byId("editor").hidden = true;
  }

  get isOpen() {
    return this.frame !== null;
  }

  /** Whether the tool draws while it moves. */
  get draws() {
    return this.tool === "brush" || this.tool === "eraser";
  }

  choose(tool) {
    this.endStroke();
    this.tool = tool;
    this.draft.drop();
    for (const button of document.querySelectorAll("button[data-tool]")) button.setAttribute("aria-pressed", String(button.dataset.tool === tool));
    byId("editor-canvas").dataset.hand = String(tool === "hand");
    byId("editor-size").disabled = !this.draws;
    this.input.hover(null);
    this.say(HINTS[tool]);
  }

  setSize(size) {
    this.size = Math.min(LARGEST, Math.max(1, 2 * Math.floor(size / 2) + 1)); // odd: the disc has a middle
    byId("editor-size").value = this.size;
    byId("editor-size-value").textContent = `${this.size} px`;
    if (this.view.brush) { this.view.brush.size = this.size; this.view.plan(); }
  }

  resizeBrush(direction) {
    this.setSize(this.size + direction * Math.max(2, 2 * Math.round(this.size / 16)));
    this.say(`Brush size: ${pixels(this.size)}.`);
  }

  /* Strokes: from press to release, drawn at once, kept as one step. */

  press(pixel) {
    if (this.draws) {
      this.stroke = { runs: [], last: pixel, value: this.tool === "brush" ? 1 : 0 };
      this.drag(pixel);
    } else if (this.view.isInside(pixel)) this.click(pixel);
  }

  drag(pixel) {
    if (!this.stroke) return;
    const { mask, width, height } = this.frame;
    const runs = drawLine(mask, width, height, this.stroke.last, pixel, this.size, this.stroke.value);
    this.stroke.last = pixel;
    for (const number of runs) this.stroke.runs.push(number);
    this.view.changed(boxOfRuns(runs, width));
  }

  release() {
    if (!this.isHeld) this.endStroke();
  }

  endStroke() {
    if (!this.stroke) return;
    const runs = tidyRuns(this.stroke.runs);
    const words = this.stroke.value ? "brush" : "eraser";
    Object.assign(this, { stroke: null, isHeld: false });
    if (this.frame.history.keep(runs, words)) this.edited();
  }

  cancelStroke() {
    if (!this.stroke) return;
    const runs = tidyRuns(this.stroke.runs);
    Object.assign(this, { stroke: null, isHeld: false });
    turnOver(this.frame.mask, runs);
    this.view.changed(boxOfRuns(runs, this.frame.width));
  }

  /* Clicks. */

  click(pixel) {
    const { mask, width, height } = this.frame;
    if (this.tool === "polygon") this.draft.addCorner(pixel);
    else if (this.tool === "propose") this.draft.addMark(pixel);
    else if (this.tool === "fill") this.apply(withHoleFilled(mask, width, height, pixel), "fill", "There is no hole: close the outline first.");
    else if (this.tool === "remove") this.apply(withoutRegion(mask, width, height, pixel), "remove", "There is no region at this place.");
  }

  /* The whole mask. */

  /** Makes a new mask the mask, as one step; null stands for: not possible here. Tells whether anything changed. */
  apply(changed, words, refusal, isQuiet = false) {
    const { mask, width, history } = this.frame;
    const runs = changed ? differingRuns(mask, changed) : new Uint32Array(0);
    if (!history.keep(runs, words)) { if (refusal) this.say(refusal); return false; }
    turnOver(mask, runs);
    this.view.changed(boxOfRuns(runs, width));
    let count = 0;
    for (let place = 1; place < runs.length; place += 2) count += runs[place];
    if (isQuiet) this.refresh();
    else { this.edited(); this.say(`${words[0].toUpperCase()}${words.slice(1)}: ${pixels(count)} changed.`); }
    return true;
  }

  smooth() {
    const { mask, width, height } = this.frame;
    this.apply(smoothed(mask, width, height), "smooth", "The edge is already smooth.");
  }

  fillHoles() {
    const { mask, width, height } = this.frame;
    this.apply(withoutHoles(mask, width, height), "fill holes", "There is no hole.");
  }

  undo() {
    this.endStroke();
    if (this.draft.isBegun) { this.draft.stepBack(); return; }
    this.stepped(this.frame.history.undo(this.frame.mask), "Undone", "There is nothing to undo.");
  }

  redo() {
    this.endStroke();
    this.stepped(this.frame.history.redo(this.frame.mask), "Redone", "There is nothing to redo.");
  }

  stepped(step, words, refusal) {
    if (!step) { this.say(refusal); return; }
    this.view.changed(boxOfRuns(step.runs, this.frame.width));
    this.edited();
    this.say(`${words}: ${step.words}.`);
  }

  edited() {
    this.refresh();
    this.host.edited();
  }

  toggleMask() {
    this.view.isMaskShown = !this.view.isMaskShown;
    this.refresh();
    this.view.plan();
  }

  /* The view and the cursor of the keyboard. */

  zoom(factor) { this.view.zoom(factor); this.showView(); }
  zoomTo(scale) { this.view.zoom(scale / this.view.scale); this.showView(); }
  fit() { this.view.fit(); this.showView(); }
  pan(dx, dy) { this.view.pan(dx, dy); }

  showView() {
    if (this.frame) byId("editor-zoom").textContent = `${Math.round(100 * this.view.scale)} %`;
  }

  moveCursor(dx, dy) {
    const { width, height } = this.frame;
    const [x, y] = this.view.cursor ?? [Math.floor(width / 2) - dx, Math.floor(height / 2) - dy];
    const pixel = [Math.max(0, Math.min(width - 1, x + dx)), Math.max(0, Math.min(height - 1, y + dy))];
    this.view.cursor = pixel;
    if (this.draws) this.view.brush = { pixel, size: this.size };
    this.view.reveal(pixel);
    this.drag(pixel);
    this.view.plan();
    byId("editor-cursor").textContent = `Column ${pixel[0]}, row ${pixel[1]}, ${this.frame.mask[pixel[1] * width + pixel[0]] ? "polyp" : "no polyp"}`;
  }

  hideCursor() {
    this.view.cursor = null;
  }

  pressCursor() {
    if (!this.view.cursor) this.moveCursor(0, 0);
    if (!this.stroke) this.press(this.view.cursor);
  }

  enter(cuts) {
    if (this.view.draft.length) { this.draft.close(cuts ? 0 : 1); return; }
    if (this.isHeld) { this.endStroke(); this.say("Line ended."); return; }
    this.pressCursor();
    if (this.draws) { this.isHeld = true; this.say("Line started; Enter ends it."); }
  }

  escape() {
    if (this.stroke) this.cancelStroke();
    else if (this.draft.isBegun) this.draft.drop();
    else this.host.leave();
  }

  /* What the host does. */

  decide(state) {
    this.endStroke();
    if (this.isHeldUp()) return;
    if (state === "no-polyp") this.apply(new Uint8Array(this.frame.mask.length), "no polyp here", "", true);
    this.host.decide(state);
  }

  /* What is begun is not lost by going on. */
  isHeldUp() {
    if (this.draft.isBegun) this.say(this.view.draft.length ? "Close the polygon first (Enter), or cancel it (Esc)." : "Click the other end first, or cancel (Esc).");
    return this.draft.isBegun;
  }

  move(step) {
    this.endStroke();
    if (this.isHeldUp()) return;
    const { hasPrevious, hasNext } = this.frame;
    if (step < 0 ? hasPrevious : hasNext) this.host.move(step);
    else this.say(step < 0 ? "This is the first frame." : "This is the last frame.");
  }

  saveNow() { this.endStroke(); this.host.saveNow(); }

  showKeys() { byId("editor-help").showModal(); }

  refresh() {
    const { history, mask } = this.frame;
    byId("editor-undo").disabled = !history.canUndo;
    byId("editor-redo").disabled = !history.canRedo;
    byId("editor-hide").setAttribute("aria-pressed", String(!this.view.isMaskShown));
    byId("editor-area").textContent = pixels(areaOf(mask));
    if (document.activeElement?.disabled) byId("editor-canvas").focus({ preventScroll: true }); // it would swallow keys
    this.showView();
  }

  say(words) {
    byId("editor-words").textContent = words;
  }

  /** Shows whether the frame is saved: `kind` is saved, saving, pending, failed or conflict. */
  showState(kind, words) {
    byId("editor-state").dataset.kind = kind;
    byId("editor-state").textContent = words;
    byId("editor-retry").hidden = kind !== "failed";
  }
}
