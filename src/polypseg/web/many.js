/* Many images at once: which are selected, how they are grouped, one threshold for all, all masks as one file. */

import { numAgain, ranked } from "./doubt.js";
import { decodeMaps, findIn, imageFile, stateOf } from "./found.js";
import { maskPng } from "./paint.js";
import { saveBlob, several, stem } from "./text.js";
import { csvOf, zipOf } from "./zip.js";

const byId = (id) => document.getElementById(id);
const COLUMNS = ["file", "group", "image", "mask", "state", "width", "height", "threshold", "min_area", "regions", "area_px", "area_percent", "mean_probability", "max_probability", "model", "model_version"];
const RECOUNT_MILLISECONDS = 200;

/** The name of an item's group: its folder, or the patient as the beginning of its name tells it. */
export function groupOf({ name, folder }, way) {
  if (way === "folder") return folder || "No folder";
  if (way === "patient") return /^(.*?)[_\-. ]/.exec(stem(name))?.[1] || stem(name);
  return "";
}

/** `page` has: items, strip, remove(item), edit(item), showLooked(), corrections. */
export class Many {
  constructor(page) {
    this.page = page;
    this.number = 0;
    for (const id of ["group-by", "order"]) byId(id).addEventListener("change", () => this.arrange());
    byId("select-all").addEventListener("click", () => this.selectAll());
    byId("zip-all").addEventListener("click", () => this.save(false));
    byId("zip-corrected").addEventListener("click", () => this.save(true));
    byId("edit-all").addEventListener("click", () => page.edit(this.editable()[0]));
    byId("remove-all").addEventListener("click", () => { for (const item of this.chosen()) page.remove(item); });
  }

  get selected() {
    return this.page.items.all.filter((item) => item.isSelected);
  }

  /** The selected items; all where none is selected. */
  chosen() {
    return this.selected.length ? this.selected : this.ordered();
  }

  /** The items in the order of their groups, within a group as given or the most doubtful first. */
  ordered() {
    const way = byId("group-by").value;
    const { all } = this.page.items;
    const first = byId("order").value === "doubt" ? ranked(all) : [];
    const items = [...first, ...all.filter((item) => !first.includes(item))];
    if (!way) return items;
    const order = new Intl.Collator("en", { numeric: true });
    return items.toSorted((a, b) => order.compare(groupOf(a, way), groupOf(b, way)));
  }

  /** Marks the images to look at again, and keeps the strip in order while answers come in. */
  judge() {
    const { all } = this.page.items;
    const first = ranked(all);
    const again = first.slice(0, numAgain(first.length));
    byId("order-choice").hidden = first.length < 2;
    for (const item of all) {
      if (Boolean(item.isDoubtful) === again.includes(item)) continue;
      item.isDoubtful = again.includes(item);
      this.page.strip.show(item);
    }
    if (byId("order").value === "doubt") this.arrange();
  }

  /** The images that are done, among those chosen. */
  editable() {
    const chosen = this.chosen();
    return this.ordered().filter((item) => item.kind === "image" && item.state === "done" && chosen.includes(item));
  }

  selectAll() {
    const isAll = this.selected.length === this.page.items.all.length;
    for (const item of this.page.items.all) { item.isSelected = !isAll; this.page.strip.show(item); }
    this.show();
  }

  arrange() {
    const way = byId("group-by").value;
    this.page.strip.arrange(this.ordered(), (item) => groupOf(item, way));
  }

  /** Shows how many there are, and what can be done with them. */
  show() {
    const { all } = this.page.items;
    const editable = this.editable();
    byId("many").hidden = all.length < 2;
    const numLooked = editable.filter((item) => stateOf(item) !== "predicted").length;
    const whole = several(all.length, "file");
    byId("many-words").textContent = this.selected.length ? `${this.selected.length} of ${whole} selected` : whole;
    byId("select-all").textContent = this.selected.length === all.length ? "Select none" : "Select all";
    for (const id of ["zip-all", "edit-all"]) byId(id).disabled = editable.length === 0;
    byId("zip-corrected").hidden = numLooked === 0;
    byId("zip-corrected").textContent = `${numLooked} reviewed (ZIP)`;
    byId("remove-all").hidden = this.selected.length === 0;
  }

  /** Counts the regions of all images again, where the threshold or the smallest region moved. */
  recount() {
    const number = ++this.number;
    clearTimeout(this.timer);
    this.timer = setTimeout(async () => {
      for (const item of this.page.items.all) {
        if (item.kind !== "image" || item.state !== "done") continue;
        const found = findIn(item, item.decoded ?? await decodeMaps(item));
        if (number !== this.number) return;
        item.numFound = found.polyps.length;
        this.page.strip.show(item);
      }
    }, RECOUNT_MILLISECONDS);
  }

  /** Saves the masks of the chosen images, or, with the images, of those of them that somebody looked at. */
  async save(isLooked) {
    const items = this.editable().filter((item) => !isLooked || stateOf(item) !== "predicted");
    const button = byId(isLooked ? "zip-corrected" : "zip-all");
    button.disabled = true;
    try {
      saveBlob(await zipOf(await this.files(items, isLooked)), isLooked ? "corrections.zip" : "masks.zip");
      if (isLooked) this.page.corrections.isSaved = true;
    } catch (error) {
      byId("many-words").textContent = error.message;
    } finally {
      button.disabled = false;
    }
  }

  async files(items, withImages) {
    const way = byId("group-by").value;
    const taken = new Set(), files = [], rows = [COLUMNS];
    for (const item of items) {
      const found = findIn(item, item.decoded ?? await decodeMaps(item));
      const { width, height } = item.answer.image;
      const state = stateOf(item);
      const name = freeName(stem(item.name), taken);
      const row = { ...measures(item, found), state, file: item.name, group: groupOf(item, way) };
      if (state !== "rejected") {
        row.mask = `masks/${name}.png`;
        files.push({ name: row.mask, blob: await maskPng(found.mask, width, height) });
        if (withImages) {
          row.image = `images/${name}${endingOf(item)}`;
          files.push({ name: row.image, blob: imageFile(item) });
        }
      }
      rows.push(COLUMNS.map((column) => row[column]));
    }
    return [...files, { name: "masks.csv", blob: csvOf(rows) }];
  }
}

function measures(item, { polyps }) {
  const { width, height } = item.answer.image;
  const area = polyps.reduce((sum, polyp) => sum + polyp.area_px, 0);
  const weighted = polyps.reduce((sum, polyp) => sum + polyp.area_px * polyp.mean_probability, 0);
  const isPredicted = stateOf(item) === "predicted";
  return {
    width, height,
    threshold: isPredicted ? item.threshold ?? item.answer.threshold : "",
    min_area: isPredicted ? item.smallest : "",
    regions: polyps.length,
    area_px: area,
    area_percent: ((100 * area) / (width * height)).toFixed(4),
    mean_probability: area ? (weighted / area).toFixed(4) : "",
    max_probability: item.answer.max_probability,
    model: item.answer.model.name,
    model_version: item.answer.model.version,
  };
}

const endingOf = (item) => (item.numPages > 1 ? ".png" : /\.[A-Za-z0-9]{1,5}$/.exec(item.file.name ?? "")?.[0] ?? ".png");

/* Names in a ZIP file: no folders, nothing that a file system refuses, none twice, big and small letters being the same. */
function freeName(wanted, taken) {
  const safe = wanted.replace(/[\\/:*?"<>|\u0000-\u001f]/g, "_").replace(/^\.+/, "_") || "image";
  for (let number = 1; ; number++) {
    const name = number === 1 ? safe : `${safe}_${number}`;
    if (!taken.has(name.toLowerCase())) { taken.add(name.toLowerCase()); return name; }
  }
}

/** The files that were dropped, those in folders too, each with its folder: [{ file, folder }]. */
export async function filesOf(transfer) {
  const entries = [...(transfer.items ?? [])].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.some((entry) => entry.isDirectory)) return [...transfer.files].map((file) => ({ file, folder: "" }));
  return (await Promise.all(entries.map((entry) => inside(entry, "")))).flat();
}

async function inside(entry, folder) {
  if (entry.isFile) return [{ file: await new Promise((take, refuse) => entry.file(take, refuse)), folder }];
  const reader = entry.createReader(), found = [];
  for (;;) { // a reader gives a hundred at a time
    const some = await new Promise((take, refuse) => reader.readEntries(take, refuse));
    if (!some.length) break;
    found.push(...some);
  }
  const parts = await Promise.all(found.map((one) => inside(one, folder ? `${folder}/${entry.name}` : entry.name)));
  return parts.flat();
}

/** The files of a folder that was chosen, each with its folder. */
export function filesOfFolder(files) {
  return [...files].map((file) => ({ file, folder: (file.webkitRelativePath ?? "").replace(/\/?[^/]*$/, "") }));
}

