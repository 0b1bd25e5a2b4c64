/* What the editor shows: the image and over it the mask, moved and zoomed. The mask's own pixels lie in a layer of the
   image's size; only the part that changed is drawn into it. */

import { boxOfMask } from "./editor_tools.js";

const TINT = [86, 180, 233], EDGE = [255, 255, 255];
const CLOSEST = 40, MARGIN = 16;

export class EditorView {
  constructor(canvas) {
    this.canvas = canvas;
    this.frame = null;
    this.scale = 1; // CSS pixels for a pixel of the image
    this.shift = [0, 0]; // of the image's corner, in CSS pixels
    this.opacity = 0.4;
    Object.assign(this, { isMaskShown: true, isFitted: true, isPlanned: false, brush: null, cursor: null, draft: [], marks: [] });
    new ResizeObserver(() => this.resize()).observe(canvas);
  }

  /** Shows a frame: { picture, width, height, mask }. */
  open(frame) {
    this.frame = frame;
    this.layer = new OffscreenCanvas(frame.width, frame.height);
    Object.assign(this, { draft: [], marks: [], brush: null, cursor: null, isMaskShown: true, dirty: null });
    this.resize();
    this.fit();
    const box = boxOfMask(frame.mask, frame.width);
    if (box) this.changed(box);
  }

  close() {
    this.frame = this.layer = null;
  }

  /** Draws a changed part of the mask, [left, top, right, bottom], into the layer before the next painting. */
  changed(box) {
    if (!box || !this.frame) return;
    const old = this.dirty ?? box;
    this.dirty = [Math.min(old[0], box[0]), Math.min(old[1], box[1]), Math.max(old[2], box[2]), Math.max(old[3], box[3])];
    this.plan();
  }

  redrawAll() {
    if (this.frame) this.changed([0, 0, this.frame.width, this.frame.height]);
  }

  /* A pixel of the edge depends on its neighbours: the part grows by one. */
  drawLayer() {
    const { width, height, mask } = this.frame;
    const left = Math.max(0, this.dirty[0] - 1), top = Math.max(0, this.dirty[1] - 1);
    const right = Math.min(width, this.dirty[2] + 1), bottom = Math.min(height, this.dirty[3] + 1);
    this.dirty = null;
    const part = new ImageData(right - left, bottom - top);
    const alpha = Math.round(255 * this.opacity);
    for (let y = top, place = 0; y < bottom; y++) {
      for (let x = left; x < right; x++, place += 4) {
        const at = y * width + x;
        if (!mask[at]) continue;
        const isEdge = (x > 0 && !mask[at - 1]) || (x < width - 1 && !mask[at + 1])
          || (y > 0 && !mask[at - width]) || (y < height - 1 && !mask[at + width]);
        part.data.set(isEdge ? EDGE : TINT, place);
        part.data[place + 3] = isEdge ? 235 : alpha;
      }
    }
    this.layer.getContext("2d").putImageData(part, left, top);
  }

  resize() {
    const ratio = window.devicePixelRatio || 1;
    this.canvas.width = Math.max(1, Math.round(this.canvas.clientWidth * ratio));
    this.canvas.height = Math.max(1, Math.round(this.canvas.clientHeight * ratio));
    if (!this.frame) return;
    if (this.isFitted) this.fit();
    else this.hold();
    this.plan();
  }

  /** Shows the whole image. */
  fit() {
    const { width, height } = this.frame;
    const [wide, high] = [this.canvas.clientWidth, this.canvas.clientHeight];
    this.scale = Math.max(0.01, Math.min((wide - 2 * MARGIN) / width, (high - 2 * MARGIN) / height));
    this.shift = [(wide - this.scale * width) / 2, (high - this.scale * height) / 2];
    this.isFitted = true;
    this.plan();
  }

  /** Zooms around a point of the canvas, in CSS pixels; its middle where none is given. */
  zoom(factor, at = [this.canvas.clientWidth / 2, this.canvas.clientHeight / 2]) {
    const scale = Math.max(this.smallest(), Math.min(CLOSEST, this.scale * factor));
    this.shift = this.shift.map((shift, axis) => at[axis] - ((at[axis] - shift) * scale) / this.scale);
    this.scale = scale;
    this.isFitted = false;
    this.hold();
    this.plan();
  }

  smallest() {
    return Math.min(1, 0.5 * Math.min(this.canvas.clientWidth / this.frame.width, this.canvas.clientHeight / this.frame.height));
  }

  pan(dx, dy) {
    this.shift = [this.shift[0] + dx, this.shift[1] + dy];
    this.isFitted = false;
    this.hold();
    this.plan();
  }

  /* Some of the image always stays in sight. */
  hold() {
    const sizes = [this.frame.width, this.frame.height], rooms = [this.canvas.clientWidth, this.canvas.clientHeight];
    this.shift = this.shift.map((shift, axis) => {
      const seen = Math.min(48, this.scale * sizes[axis]);
      return Math.max(seen - this.scale * sizes[axis], Math.min(rooms[axis] - seen, shift));
    });
  }

  /** The pixel [column, row] under a point of the window; it may lie outside the image. */
  pixelAt(clientX, clientY) {
    const { left, top } = this.canvas.getBoundingClientRect();
    return [Math.floor((clientX - left - this.shift[0]) / this.scale), Math.floor((clientY - top - this.shift[1]) / this.scale)];
  }

  /** Where the middle of a pixel lies on the canvas, in CSS pixels. */
  pointOf([x, y]) {
    return [this.shift[0] + (x + 0.5) * this.scale, this.shift[1] + (y + 0.5) * this.scale];
  }

  isInside([x, y]) {
    return x >= 0 && y >= 0 && x < this.frame.width && y < this.frame.height;
  }

  /** Moves the image so far that a pixel is in sight. */
  reveal(pixel) {
    const point = this.pointOf(pixel), rooms = [this.canvas.clientWidth, this.canvas.clientHeight];
    const [dx, dy] = point.map((place, axis) => Math.max(0, 24 - place) - Math.max(0, place - (rooms[axis] - 24)));
    if (dx || dy) this.pan(dx, dy);
  }

  /* Many changes in one frame are painted once. */
  plan() {
    if (this.isPlanned) return;
    this.isPlanned = true;
    requestAnimationFrame(() => { this.isPlanned = false; if (this.frame) this.paint(); });
  }

  paint() {
    if (this.dirty) this.drawLayer();
    const ratio = window.devicePixelRatio || 1;
    const context = this.canvas.getContext("2d");
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, this.canvas.width, this.canvas.height);
    context.setTransform(ratio * this.scale, 0, 0, ratio * this.scale, ratio * this.shift[0], ratio * this.shift[1]);
    context.imageSmoothingEnabled = this.scale * ratio < 3;
    context.drawImage(this.frame.picture, 0, 0);
    context.imageSmoothingEnabled = this.scale * ratio < 1;
    if (this.isMaskShown) context.drawImage(this.layer, 0, 0);
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    this.paintDraft(context);
    this.paintMarks(context);
    if (this.brush) this.paintBrush(context);
    if (this.cursor) this.paintCursor(context);
  }

  paintDraft(context) {
    if (!this.draft.length) return;
    const points = this.draft.map((pixel) => this.pointOf(pixel));
    const path = new Path2D();
    points.forEach(([x, y], index) => path[index ? "lineTo" : "moveTo"](x, y));
    twice(context, (style, wide) => { context.strokeStyle = style; context.lineWidth = wide; context.stroke(path); });
    points.forEach(([x, y], index) => dot(context, x, y, index ? 4 : 6));
  }

  paintMarks(context) {
    for (const pixel of this.marks) dot(context, ...this.pointOf(pixel), 6);
  }

  paintBrush(context) {
    const [x, y] = this.pointOf(this.brush.pixel);
    const path = new Path2D();
    path.arc(x, y, Math.max(1, (this.brush.size * this.scale) / 2), 0, 2 * Math.PI);
    twice(context, (style, wide) => { context.strokeStyle = style; context.lineWidth = wide; context.stroke(path); });
  }

  paintCursor(context) {
    const [x, y] = this.pointOf(this.cursor);
    const gap = Math.max(3, this.scale / 2), path = new Path2D();
    for (const [dx, dy] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
      path.moveTo(x + gap * dx, y + gap * dy);
      path.lineTo(x + (gap + 12) * dx, y + (gap + 12) * dy);
    }
    twice(context, (style, wide) => { context.strokeStyle = style; context.lineWidth = wide; context.stroke(path); });
  }
}

/* Seen on light and on dark ground. */
function twice(context, draw) {
  draw("#000000b0", 3.5);
  draw("#ffe45c", 1.5);
}

function dot(context, x, y, radius) {
  context.beginPath();
  context.arc(x, y, radius, 0, 2 * Math.PI);
  context.fillStyle = "#ffe45c";
  context.fill();
  context.lineWidth = 1.5;
  context.strokeStyle = "#000000b0";
  context.stroke();
}
