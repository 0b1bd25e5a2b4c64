/* The strip of the files so far: a button with a thumbnail and a word for each. */

import { element } from "./text.js";

const WORDS = { queued: "waits", uploading: "sending", working: "working", busy: "busy", failed: "failed" };

export class Strip {
  constructor(root, { onChoose, onRemove }) {
    this.list = root.querySelector("ul");
    this.onChoose = onChoose;
    this.onRemove = onRemove;
    this.cells = new Map();
  }

  /** Shows an item, or what has changed of it. */
  show(item) {
    const cell = this.cells.get(item.id) ?? this.make(item);
    if (item.url && cell.picture.getAttribute("src") !== item.url) cell.picture.src = item.url;
    const words = item.state === "done" ? outcome(item) : WORDS[item.state];
    cell.badge.textContent = words;
    cell.row.dataset.state = item.state;
    cell.button.setAttribute("aria-label", `${item.name}, ${words}`);
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
    const cell = { row, button, badge, picture };
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
  }
}

function outcome(item) {
  const count = item.kind === "image" ? item.answer.num_components : item.answer.detections.length;
  return count ? `${count} found` : "none found";
}
