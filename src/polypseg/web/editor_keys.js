/* The editor's keys: one table for what they do and for the help that lists them. */

import { element } from "./text.js";

const FAR = 10;
const arrows = { arrowleft: [-1, 0], arrowright: [1, 0], arrowup: [0, -1], arrowdown: [0, 1] };

/* [group, keys as they are shown, words, { key: act(editor) }] */
const ROWS = [
  ["Tools", "B", "Brush", { b: (editor) => editor.choose("brush") }],
  ["Tools", "E", "Eraser", { e: (editor) => editor.choose("eraser") }],
  ["Tools", "[  ]", "Brush smaller, larger (or Shift or Alt with the wheel)", { "[": (editor) => editor.resizeBrush(-1), "]": (editor) => editor.resizeBrush(1) }],
  ["Tools", "P", "Polygon: click its corners", { p: (editor) => editor.choose("polygon") }],
  ["Tools", "T", "Two clicks on a polyp that was missed", { t: (editor) => editor.choose("propose") }],
  ["Tools", "F", "Fill the hole that is clicked", { f: (editor) => editor.choose("fill") }],
  ["Tools", "R", "Remove the region that is clicked", { r: (editor) => editor.choose("remove") }],
  ["Tools", "V", "Move the view (or the middle button, or two fingers)", { v: (editor) => editor.choose("hand") }],
  ["At the cursor", "Arrows", "Move the cursor by a pixel; with Shift by 10", cursorKeys()],
  ["At the cursor", "Space", "Use the tool there; hold the key and move to draw", {}],
  ["At the cursor", "Enter", "Start and end a line without holding a key; close a polygon", { enter: (editor) => editor.enter(false) }],
  ["At the cursor", "Shift + Enter", "Close a polygon and cut it out of the mask", { "shift+enter": (editor) => editor.enter(true) }],
  ["At the cursor", "Backspace", "Undo the last corner", { backspace: (editor) => editor.draft.stepBack(), delete: (editor) => editor.draft.stepBack() }],
  ["At the cursor", "Esc", "Cancel the unfinished shape; if there is none, leave the editor", { escape: (editor) => editor.escape() }],
  ["Whole mask", "Ctrl + Z", "Undo", { "ctrl+z": (editor) => editor.undo() }],
  ["Whole mask", "Ctrl + Shift + Z, Ctrl + Y", "Redo", { "ctrl+shift+z": (editor) => editor.redo(), "ctrl+y": (editor) => editor.redo() }],
  ["Whole mask", "G", "Fill all holes", { g: (editor) => editor.fillHoles() }],
  ["Whole mask", "S", "Smooth the edge", { s: (editor) => editor.smooth() }],
  ["Whole mask", "M", "Show or hide the mask", { m: (editor) => editor.toggleMask() }],
  ["View", "+  −", "Zoom in, out (or the wheel)", { "+": (editor) => editor.zoom(1.25), "=": (editor) => editor.zoom(1.25), "-": (editor) => editor.zoom(0.8) }],
  ["View", "0", "The whole image", { 0: (editor) => editor.fit() }],
  ["View", "1", "One pixel of the image for one pixel of the screen", { 1: (editor) => editor.zoomTo(1) }],
  ["View", "Ctrl + arrows", "Move the view", panKeys()],
  ["Frames", "Page Down, Page Up", "Next, previous", { pagedown: (editor) => editor.move(1), pageup: (editor) => editor.move(-1) }],
  ["Frames", "A", "Accept the mask and go on", { a: (editor) => editor.decide("accepted") }],
  ["Frames", "N", "Say that there is no polyp and go on", { n: (editor) => editor.decide("no-polyp") }],
  ["Frames", "X", "Reject the frame (it is unusable) and go on", { x: (editor) => editor.decide("rejected") }],
  ["Frames", "Ctrl + S", "Save at once", { "ctrl+s": (editor) => editor.saveNow() }],
  ["Frames", "?", "This list", { "?": (editor) => editor.showKeys(), f1: (editor) => editor.showKeys() }],
];

function cursorKeys() {
  const near = Object.entries(arrows).map(([key, [x, y]]) => [key, (editor) => editor.moveCursor(x, y)]);
  const far = Object.entries(arrows).map(([key, [x, y]]) => [`shift+${key}`, (editor) => editor.moveCursor(FAR * x, FAR * y)]);
  return Object.fromEntries([...near, ...far]);
}

function panKeys() {
  return Object.fromEntries(Object.entries(arrows).map(([key, [x, y]]) => [`ctrl+${key}`, (editor) => editor.pan(-60 * x, -60 * y)]));
}

const ACTS = Object.assign({}, ...ROWS.map(([, , , acts]) => acts));

/** What a key press does: act(editor), or undefined. */
export function actOf(event) {
  if (event.altKey && !event.getModifierState("AltGraph")) return undefined;
  const key = event.key.toLowerCase();
  const isSign = key.length === 1 && key.toUpperCase() === key; // Shift is part of how a sign is typed
  const hasControl = (event.ctrlKey || event.metaKey) && !event.getModifierState("AltGraph");
  return ACTS[`${hasControl ? "ctrl+" : ""}${event.shiftKey && !isSign ? "shift+" : ""}${key}`];
}

/** Fills the help with the table. */
export function fillKeys(place) {
  const groups = [...new Set(ROWS.map(([group]) => group))];
  const columns = element("div", "", { className: "keys-columns" });
  columns.append(...groups.map((group) => {
    const part = document.createElement("section"), list = document.createElement("dl");
    for (const [, shown, words] of ROWS.filter(([other]) => other === group)) {
      const row = document.createElement("div"), term = document.createElement("dt");
      term.append(element("kbd", shown));
      row.append(term, element("dd", words));
      list.append(row);
    }
    part.append(element("h3", group), list);
    return part;
  }));
  place.replaceChildren(columns);
}
