/* The strip of the files so far: a button with a thumbnail and a word for each. */

import { numAgain, reviewOrder, scoreOf } from "./doubt.js";
import { element } from "./text.js";

const WORDS = { queued: "waits", uploading: "sending", working: "working", busy: "busy", failed: "failed" };

export class Strip {
  constructor(root, { onChoose, onRemove }) {
    this.list = root.querySelector("ul");
    this.chooser = root.querySelector(".order");
    this.chooser.addEventListener("change", () => this.arrange());
    this.onChoose = onChoose;
    this.onRemove = onRemove;
    this.cells = new Map();
  }

  /** Shows an item, or what has changed of it. */
  show(item) {
    const cell = this.cells.get(item.id) ?? this.make(item);
    cell.item = item;
    if (item.url && cell.picture.getAttribute("src") !== item.url) cell.picture.src = item.url;
    const words = item.state === "done" ? outcome(item) : WORDS[item.state];
    cell.words = words;
    cell.row.dataset.state = item.state;
    this.arrange();
  }

  /** Puts the cells in the chosen order, and marks the images to look at again. */
  arrange() {
    const cells = [...this.cells.values()];
    const scored = cells.filter(({ item }) => scoreOf(item));
    const ranked = reviewOrder(scored.map(({ item }) => scoreOf(item))).map((place) => scored[place]);
    const again = new Set(ranked.slice(0, numAgain(scored.length)));
    for (const cell of cells) {
      const words = again.has(cell) ? `${cell.words}, look again` : cell.words;
      cell.badge.textContent = words;
      cell.row.toggleAttribute("data-again", again.has(cell));
      cell.button.setAttribute("aria-label", `${cell.item.name}, ${words}`);
    }
    this.chooser.hidden = scored.length < 2;
    const isByDoubt = !this.chooser.hidden && this.chooser.querySelector("select").value === "doubt";
    const wanted = isByDoubt ? [...ranked, ...cells.filter((cell) => !ranked.includes(cell))] : cells;
    const rows = wanted.map(({ row }) => row);
    if (rows.some((row, place) => this.list.children[place] !== row)) { // moving what stands right would lose the focus
      const focused = document.activeElement;
      this.list.append(...rows);
      if (this.list.contains(focused)) focused.focus();
    }
  }

  make(item) {
    const row = document.createElement("li");
    const button = element("button", "", { type: "button", className: "thumb", title: item.name });
    const picture = element("img", "", { alt: "" });
    const still = item.kind === "image" ? picture : element("span", "▶", { className: "still" });
    const badge = element("span", "", { className: "badge" });
    button.append(still, element("span", item.name, { className: "name" }), badge);
    button.addEventListener("click", () => this.onChoose(item));
    const away = element("button", "×", { type: "button", className: "away", title: "Remove" });
    away.setAttribute("aria-label", `Remove ${item.name}`);
    away.addEventListener("click", () => this.onRemove(item));
    row.append(button, away);
    this.list.append(row);
    const cell = { item, words: "", row, button, badge, picture };
    this.cells.set(item.id, cell);
    return cell;
  }

  /** Marks the item that is shown. */
  mark(item) {
    for (const [id, { button }] of this.cells) {
      if (id === item?.id) button.setAttribute("aria-current", "true");
      else button.removeAttribute("aria-current");
    }
  }

  remove(item) {
    this.cells.get(item.id)?.row.remove();
    this.cells.delete(item.id);
    this.arrange();
  }
}

function outcome(item) {
  const count = item.kind === "image" ? item.answer.num_components : item.answer.detections.length;
  return count ? `${count} found` : "none found";
}
