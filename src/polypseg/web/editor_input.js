/* How hands reach the editor: mouse, pen, fingers, wheel and keys. One finger draws, two move and zoom; once a pen was
   seen, fingers only move the view, since a hand rests on the screen. */

import { actOf } from "./editor_keys.js";

const WHEEL_STEP = 1.0015;
const TAP = 6; // CSS pixels that a click may move

export class EditorInput {
  constructor(editor, root, canvas) {
    Object.assign(this, { editor, view: editor.view, canvas, pointers: new Map(), mode: null, hasPen: false });
    canvas.addEventListener("pointerdown", (event) => this.down(event));
    canvas.addEventListener("pointermove", (event) => this.move(event));
    canvas.addEventListener("pointerup", (event) => this.up(event, true));
    canvas.addEventListener("pointercancel", (event) => this.up(event, false));
    canvas.addEventListener("pointerleave", () => this.hover(null));
    canvas.addEventListener("contextmenu", (event) => event.preventDefault());
    canvas.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    canvas.addEventListener("blur", () => editor.release());
    canvas.addEventListener("keyup", (event) => { if (event.key === " ") editor.release(); });
    document.addEventListener("keydown", (event) => {
      if (editor.isOpen && (root.contains(event.target) || event.target === document.body)) this.key(event);
    });
  }

  down(event) {
    event.preventDefault();
    this.canvas.focus({ preventScroll: true });
    this.canvas.setPointerCapture(event.pointerId);
    this.hasPen = this.hasPen || event.pointerType === "pen";
    this.pointers.set(event.pointerId, [event.clientX, event.clientY]);
    this.editor.hideCursor();
    if (this.pointers.size > 1) {
      if (this.mode === "tool") this.editor.cancelStroke();
      this.mode = "pinch";
      return;
    }
    const isMoved = event.button !== 0 || this.editor.tool === "hand" || (this.hasPen && event.pointerType === "touch");
    this.mode = isMoved ? "pan" : "tool";
    this.begin = [event.clientX, event.clientY];
    if (this.mode === "tool" && this.editor.draws) this.editor.press(this.view.pixelAt(event.clientX, event.clientY));
  }

  move(event) {
    const before = this.pointers.get(event.pointerId);
    if (event.pointerType !== "touch") this.hover(this.view.pixelAt(event.clientX, event.clientY));
    if (!before) return;
    const now = [event.clientX, event.clientY];
    if (this.mode === "pinch") this.pinch(event.pointerId, before, now);
    else if (this.mode === "pan") this.view.pan(now[0] - before[0], now[1] - before[1]);
    else if (this.mode === "tool" && this.editor.draws) {
      const all = event.getCoalescedEvents?.() ?? [];
      for (const { clientX, clientY } of all.length ? all : [event]) this.editor.drag(this.view.pixelAt(clientX, clientY));
    }
    this.pointers.set(event.pointerId, now);
    this.editor.showView();
  }

  /* Two fingers: their middle carries the image, their distance its size. */
  pinch(id, before, now) {
    const other = [...this.pointers].find(([otherId]) => otherId !== id)?.[1];
    if (!other) return;
    const { left, top } = this.canvas.getBoundingClientRect();
    const apart = (point) => Math.max(1, Math.hypot(point[0] - other[0], point[1] - other[1]));
    this.view.pan((now[0] - before[0]) / 2, (now[1] - before[1]) / 2);
    this.view.zoom(apart(now) / apart(before), [(now[0] + other[0]) / 2 - left, (now[1] + other[1]) / 2 - top]);
  }

  up(event, isWhole) {
    if (!this.pointers.delete(event.pointerId)) return;
    if (this.mode === "tool" && this.editor.draws) {
      if (isWhole) this.editor.release();
      else this.editor.cancelStroke();
    } else if (this.mode === "tool" && isWhole && Math.hypot(event.clientX - this.begin[0], event.clientY - this.begin[1]) <= TAP) {
      this.editor.press(this.view.pixelAt(event.clientX, event.clientY));
    }
    if (!this.pointers.size) this.mode = null;
    else if (this.mode === "tool") this.mode = "pan";
  }

  hover(pixel) {
    this.view.brush = pixel && this.editor.draws ? { pixel, size: this.editor.size } : null;
    this.view.plan();
  }

  wheel(event) {
    event.preventDefault();
    const turn = (event.deltaY || event.deltaX) * (event.deltaMode === 1 ? 33 : 1); // Shift turns the wheel's axis
    if ((event.shiftKey || event.altKey) && !event.ctrlKey) {
      this.editor.resizeBrush(turn < 0 ? 1 : -1);
      this.hover(this.view.pixelAt(event.clientX, event.clientY));
      return;
    }
    const { left, top } = this.canvas.getBoundingClientRect();
    this.view.zoom(WHEEL_STEP ** -(event.ctrlKey ? 4 * turn : turn), [event.clientX - left, event.clientY - top]);
    this.editor.showView();
  }

  key(event) {
    const { target } = event;
    const isButton = target instanceof HTMLButtonElement, isField = target instanceof HTMLInputElement || target instanceof HTMLSelectElement;
    if (event.key === " " && target === this.canvas) {
      event.preventDefault();
      if (!event.repeat) this.editor.pressCursor();
      return;
    }
    if ((isButton || isField) && [" ", "Enter"].includes(event.key)) return;
    if (isField && /^(Arrow|Home|End|Page)/.test(event.key)) return; // they move the slider
    const act = actOf(event);
    if (!act || target.closest("dialog")) return;
    event.preventDefault();
    act(this.editor);
    this.editor.showView();
  }
}
