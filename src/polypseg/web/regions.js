/* The table of regions, and the frame around the one that is chosen. */

import { element, probability } from "./text.js";

const byId = (id) => document.getElementById(id);
const MOST = 50;
const counted = new Intl.NumberFormat("en");

export class RegionTable {
  constructor() {
    this.chosen = null;
  }

  /** Shows the regions of an image. */
  show(polyps, { width, height }) {
    Object.assign(this, { polyps, width, height });
    byId("regions-all").hidden = polyps.length === 0;
    if (this.chosen !== null && this.chosen >= polyps.length) this.chosen = null;
    const focused = document.activeElement?.dataset?.region;
    byId("regions").tBodies[0].replaceChildren(...polyps.slice(0, MOST).map((polyp, index) => this.row(polyp, index)));
    byId("regions-more").textContent = polyps.length > MOST ? `The ${MOST} largest of ${counted.format(polyps.length)}.` : "";
    if (focused !== undefined) byId("regions").querySelector(`[data-region="${focused}"]`)?.focus();
    this.frame();
  }

  row(polyp, index) {
    const row = document.createElement("tr");
    const button = element("button", String(index + 1), { type: "button", title: "Show it in the image" });
    button.dataset.region = index;
    button.setAttribute("aria-pressed", String(this.chosen === index));
    button.setAttribute("aria-label", `Show region ${index + 1} in the image`);
    button.addEventListener("click", () => {
      this.chosen = this.chosen === index ? null : index;
      for (const other of byId("regions").querySelectorAll("button")) other.setAttribute("aria-pressed", String(Number(other.dataset.region) === this.chosen));
      this.frame();
    });
    const head = document.createElement("th");
    head.scope = "row";
    head.append(button);
    const [, , wide, high] = polyp.box;
    const values = [counted.format(polyp.area_px), polyp.area_percent.toFixed(2), `${wide}\u00a0×\u00a0${high}`, probability(polyp.mean_probability), probability(polyp.max_probability)];
    row.append(head, ...values.map((value) => element("td", value)));
    return row;
  }

  frame() {
    const box = byId("box");
    box.hidden = this.chosen === null;
    if (box.hidden) return;
    const [x, y, wide, high] = this.polyps[this.chosen].box;
    const share = (value, whole) => `${(100 * value) / whole}%`;
    Object.assign(box.style, { left: share(x, this.width), top: share(y, this.height), width: share(wide, this.width), height: share(high, this.height) });
  }
}
