/* The strip of the files so far: a button with a thumbnail and a word for each, a box to select it, arrow keys between
   them, and a heading before each group. */

import { stateOf } from "./found.js";
import { element } from "./text.js";

const WORDS = { queued: "waiting", uploading: "sending", working: "working", busy: "busy", failed: "failed" };
const LOOKED_AT = { corrected: "corrected", accepted: "accepted", "no-polyp": "no polyp", rejected: "rejected" };
const STEPS = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1, Home: -Infinity, End: Infinity };

export class Strip {
  constructor(root, { onChoose, onRemove, onSelect }) {
    this.list = root.querySelector("ul");
    Object.assign(this, { onChoose, onRemove, onSelect, cells: new Map() });
    this.list.addEventListener("keydown", (event) => this.step(event));
  }

  /** Shows an item, or what has changed of it. */
  show(item) {
    const cell = this.cells.get(item.id) ?? this.make(item);
    if (item.url && cell.picture.getAttribute("src") !== item.url) cell.picture.src = item.url;
    const isDoubtful = Boolean(item.isDoubtful) && stateOf(item) === "predicted";
    const words = (item.state === "done" ? outcome(item) : WORDS[item.state]) + (isDoubtful ? ", look again" : "");
    cell.badge.textContent = words;
    cell.row.toggleAttribute("data-again", isDoubtful);
    cell.name.textContent = cell.button.title = item.name;
    cell.row.dataset.state = item.state;
    cell.button.setAttribute("aria-label", `${item.name}, ${words}`);
    cell.away.setAttribute("aria-label", `Remove ${item.name}`);
    cell.select.setAttribute("aria-label", `Select ${item.name}`);
    cell.select.checked = Boolean(item.isSelected);
  }

  make(item) {
    const row = document.createElement("li");
    const button = element("button", "", { type: "button", className: "thumb" });
    const picture = element("img", "", { alt: "", hidden: true });
    const still = element("span", item.kind === "image" ? "⧗" : "▶", { className: "still" });
    still.setAttribute("aria-hidden", "true");
    picture.addEventListener("load", () => { picture.hidden = false; still.hidden = true; });
    picture.addEventListener("error", () => { picture.hidden = true; still.hidden = false; still.textContent = "?"; });
    const badge = element("span", "", { className: "badge" }), name = element("span", "", { className: "name" });
    button.append(picture, still, name, badge);
    button.addEventListener("click", () => this.onChoose(item));
    const away = element("button", "×", { type: "button", className: "away", title: "Remove" });
    away.addEventListener("click", () => this.onRemove(item));
    const select = element("input", "", { type: "checkbox", className: "select", title: "Select" });
    select.addEventListener("change", () => { item.isSelected = select.checked; this.onSelect(); });
    row.append(button, select, away);
    this.list.append(row);
    const cell = { item, row, button, badge, name, picture, away, select };
    this.cells.set(item.id, cell);
    this.reach(this.current ?? item);
    return cell;
  }

  /** Marks the item that is shown; Tab reaches it and its buttons, the arrow keys the others. */
  mark(item) {
    this.current = item;
    for (const [id, { button }] of this.cells) {
      if (id === item?.id) button.setAttribute("aria-current", "true");
      else button.removeAttribute("aria-current");
    }
    this.reach(item);
  }

  reach(item) {
    for (const [id, cell] of this.cells) {
      for (const part of [cell.button, cell.away, cell.select]) part.tabIndex = id === item?.id ? 0 : -1;
    }
  }

  step(event) {
    const step = STEPS[event.key];
    if (step === undefined || event.ctrlKey || event.altKey || event.metaKey) return;
    const rows = [...this.list.querySelectorAll("li[data-state]")];
    const place = rows.indexOf(event.target.closest("li"));
    const next = rows[Math.max(0, Math.min(rows.length - 1, place + step))];
    event.preventDefault();
    const cell = [...this.cells.values()].find(({ row }) => row === next);
    if (!cell || next === rows[place]) return;
    this.onChoose(cell.item);
    cell.button.focus();
    cell.row.scrollIntoView({ block: "nearest", inline: "nearest" });
  }

  /** Puts the items in an order, a heading before each group; `groupOf` gives a name, or "" where there are no groups. */
  arrange(items, groupOf) {
    const focused = document.activeElement;
    for (const heading of this.list.querySelectorAll(".group-name")) heading.remove();
    let last = "";
    for (const item of items) {
      const group = groupOf(item);
      if (group && group !== last) this.list.append(element("li", group, { className: "group-name" }));
      last = group;
      const row = this.cells.get(item.id)?.row;
      if (row) this.list.append(row);
    }
    if (this.list.contains(focused) && focused !== document.activeElement) focused.focus(); // moved, it lost the focus
  }

  remove(item) {
    this.cells.get(item.id)?.row.remove();
    this.cells.delete(item.id);
  }
}

function outcome(item) {
  const looked = item.kind === "image" ? LOOKED_AT[stateOf(item)] : undefined;
  if (looked) return looked;
  const count = item.kind === "image" ? item.numFound ?? item.answer.num_components : item.answer.detections.length;
  return count ? `${count} found` : "none found";
}
