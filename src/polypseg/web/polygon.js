/* What is begun and not yet in the mask: a polygon's corners, or the first of two clicks. Its buttons take
   the place of the decisions: first it is ended. */

import { withPolygon } from "./editor_tools.js";
import { proposedRegion } from "./propose.js";
import { several } from "./text.js";

const byId = (id) => document.getElementById(id);
const CLOSE = 10; // CSS pixels from a polygon's first corner that close it

export class Draft {
  constructor(editor) {
    this.editor = editor;
    this.view = editor.view;
    const on = (id, act) => byId(id).addEventListener("click", act);
    on("draft-add", () => this.close(1));
    on("draft-cut", () => this.close(0));
    on("draft-back", () => this.stepBack());
    on("draft-drop", () => this.drop());
  }

  get isBegun() {
    return this.view.draft.length > 0 || this.view.marks.length > 0;
  }

  addCorner(pixel) {
    const corners = this.view.draft;
    const apart = (corner) => {
      const [x, y] = this.view.pointOf(pixel), [otherX, otherY] = this.view.pointOf(corner);
      return Math.hypot(x - otherX, y - otherY);
    };
    if (corners.length > 2 && apart(corners[0]) <= CLOSE) { this.close(1); return; }
    corners.push(pixel);
    this.show();
  }

  /** Closes the polygon and adds it to the mask (1), or cuts it away (0). */
  close(value) {
    const corners = this.view.draft;
    if (corners.length < 3) { this.editor.say("A polygon needs three corners."); return; }
    const { mask, width, height } = this.editor.frame;
    const changed = withPolygon(mask, width, height, corners, value);
    this.drop();
    this.editor.apply(changed, "polygon", "The polygon changes nothing.");
  }

  async addMark(pixel) {
    const { editor, view } = this;
    const { frame } = editor;
    view.marks.push(pixel);
    this.show();
    if (view.marks.length < 2) return;
    const [first, second] = view.marks;
    this.drop();
    editor.say("Looking for the region …");
    const map = await frame.askMap();
    if (editor.frame !== frame) return;
    const region = proposedRegion(map, frame.width, frame.height, first, second);
    editor.apply(frame.mask.map((value, at) => value | region[at]), "two clicks", "The region is already in the mask.");
    if (!map) editor.say("The probability map is not available: the region is an ellipse.");
  }

  /** Takes the last corner or click back. */
  stepBack() {
    (this.view.draft.length ? this.view.draft : this.view.marks).pop();
    this.show();
  }

  drop() {
    Object.assign(this.view, { draft: [], marks: [] });
    this.show();
  }

  show() {
    const { draft, marks } = this.view;
    const hadFocus = byId("editor-draft").contains(document.activeElement);
    byId("editor-draft").hidden = !this.isBegun;
    byId("editor-foot").inert = this.isBegun;
    byId("draft-words").textContent = marks.length ? "Now the other end" : several(draft.length, "corner");
    for (const id of ["draft-add", "draft-cut"]) { byId(id).hidden = marks.length > 0; byId(id).disabled = draft.length < 3; }
    if (hadFocus && !this.isBegun) byId("editor-canvas").focus({ preventScroll: true });
    this.view.plan();
  }
}
