/* The result of one image: the stage, what was found, and the controls. */

import { correctedMask, decodeAll, findIn, isFlat, isOwn, levelToShow, stateOf } from "./found.js";
import { doubtRows } from "./doubt.js";
import { encodeRunLengths } from "./mask.js";
import { heatOver, maskOver, maskPng, show, showScale } from "./paint.js";
import { RegionTable } from "./regions.js";
import { element, fillFacts, percent, pixels, probability, saveBlob, saveJson, several, stem, thresholdText } from "./text.js";

const NARROW = "(max-width: 45rem)";
const byId = (id) => document.getElementById(id);
const checked = (name) => document.querySelector(`input[name=${name}]:checked`)?.value;

const MADE_BY = {
  corrected: "Corrected by hand.",
  accepted: "Reviewed and accepted.",
  "no-polyp": "Reviewed: no polyp here.",
  rejected: "Reviewed and rejected: unusable.",
};

const FALSE_ALARM = " This example was drawn without a polyp: what is marked is a false alarm.";

/** Shows items that are done. The host has: rerun(), chosen(threshold, smallest), drop() of a correction. */
export class Viewer {
  constructor(host) {
    this.item = null;
    this.opacity = { mask: 0.4, heat: 0.6 };
    this.regions = new RegionTable();
    this.isPlanned = false;
    showScale(byId("scale"));
    this.connect(host);
    this.setLayout(matchMedia(NARROW).matches ? "slider" : "side");
  }

  connect(host) {
    const plan = () => this.plan();
    for (const id of ["view", "drawn", "levels", "band"]) byId(id).addEventListener("change", plan);
    byId("levels").addEventListener("change", () => { this.item.level = Number(checked("level")); });
    byId("layout").addEventListener("change", () => this.setLayout(checked("layout")));
    byId("compare").addEventListener("input", () => this.placeDivider());
    byId("opacity").addEventListener("input", (event) => {
      this.opacity[this.kind()] = Number(event.target.value);
      plan();
    });
    byId("threshold").addEventListener("input", (event) => host.chosen(Number(event.target.value), this.item.smallest));
    byId("own").addEventListener("click", () => {
      byId("smallest").value = 0;
      byId("threshold").focus(); // the button is about to be disabled
      host.chosen(null, 0);
    });
    byId("smallest").addEventListener("input", (event) =>
      host.chosen(this.item.threshold, Math.max(0, Math.floor(Number(event.target.value)) || 0)));
    byId("drop-correction").addEventListener("click", () => host.drop());
    byId("tta").addEventListener("change", () => host.rerun());
    byId("save-mask").addEventListener("click", async () => {
      const { width, height } = this.item.answer.image;
      saveBlob(await maskPng(this.found.mask, width, height), `${stem(this.item.name)}_mask.png`);
    });
    byId("save-view").addEventListener("click", () =>
      byId("shown").toBlob((blob) => saveBlob(blob, `${stem(this.item.name)}_${checked("view") === "mask" ? "overlay" : checked("view")}.png`)));
    byId("save-json").addEventListener("click", () => saveJson(this.record(), `${stem(this.item.name)}.json`));
  }

  /** Shows an item that is done. */
  async open(item) {
    if (this.item && this.item !== item) this.item.decoded = null;
    this.item = item;
    this.regions.chosen = null;
    if (!item.decoded) {
      const decoded = await decodeAll(item);
      if (this.item !== item || !item.answer) return;
      item.decoded = decoded;
    }
    const { width, height } = item.answer.image;
    byId("result-title").textContent = item.name;
    byId("format-note").hidden = !item.substitute;
    byId("format-note").textContent = `${item.note ? `${item.note} ` : ""}This browser cannot show the file itself. It shows the picture as the server read it.`;
    byId("smallest").value = item.smallest;
    byId("stage").style.setProperty("--ratio", width / height);
    this.showLevels(item.answer.attention ?? [], levelToShow(item, item.decoded.attention));
    show(byId("original"), item.decoded.base, width, height);
    this.render();
  }

  /* A gate that was picked by hand stays with its image; else the one that agrees best with the mask is opened. */
  showLevels(attention, opened) {
    byId("view-attention").hidden = attention.length === 0;
    if (attention.length === 0 && checked("view") === "attention") document.querySelector("input[name=view]").checked = true;
    const options = attention.map(({ level }) => {
      const label = document.createElement("label");
      label.append(element("input", "", { type: "radio", name: "level", value: level, checked: level === opened }), element("span", String(level)));
      return label;
    });
    byId("levels").replaceChildren(byId("levels").firstElementChild, ...options);
  }

  setLayout(layout) {
    document.querySelector(`input[name=layout][value=${layout}]`).checked = true;
    byId("stage").dataset.layout = layout;
    this.placeDivider();
  }

  placeDivider() {
    byId("stage").style.setProperty("--divider", `${byId("compare").value}%`);
  }

  kind() {
    return checked("view") === "mask" ? "mask" : "heat";
  }

  /* Many inputs in one frame are painted once. */
  plan() {
    if (this.isPlanned) return;
    this.isPlanned = true;
    requestAnimationFrame(() => { this.isPlanned = false; if (this.item?.decoded) this.render(); });
  }

  render() {
    const { item } = this;
    const { answer, decoded } = item;
    const { width, height } = answer.image;
    const threshold = item.threshold ?? answer.threshold;
    this.found = findIn(item, decoded);
    this.paint(width, height);
    this.showControls(threshold);
    this.showFindings(threshold);
    this.showCurve(threshold);
  }

  paint(width, height) {
    const { base, map, attention } = this.item.decoded;
    const view = checked("view");
    const opacity = this.opacity[this.kind()];
    const level = Number(checked("level"));
    const canvas = byId("shown");
    const band = this.band();
    if (view === "mask") show(canvas, maskOver(base, this.found.mask, width, height, opacity, checked("drawn"), band), width, height);
    else show(canvas, heatOver(base, view === "probability" ? map : attention[level], opacity), width, height);
    const captions = { mask: "Mask", probability: "Probability map", attention: `Attention, gate ${level}` };
    byId("caption").textContent = captions[view];
    canvas.setAttribute("aria-label", `${captions[view]} over the image; what was found is described beside it`);
    byId("legend").hidden = view === "mask";
    const flat = view === "attention" && attention[level] && isFlat(attention[level]) ? "; nearly the same everywhere here" : "";
    byId("legend-text").textContent = view === "probability" ? "probability" : `gate coefficient${flat}`;
  }

  /* What lies between inner and outer mask; they are of the model's own mask, and of no other. */
  band() {
    const band = checked("view") === "mask" && isOwn(this.item) ? this.item.decoded.band : null;
    const isShown = band !== null && byId("band").checked;
    byId("band-switch").hidden = band === null;
    byId("band-legend").hidden = !isShown;
    byId("promise").textContent = isShown ? `(${this.item.answer.promise})` : "";
    return isShown ? band : null;
  }

  showControls(threshold) {
    const view = checked("view");
    const isCorrected = correctedMask(this.item) !== null;
    for (const id of ["threshold", "smallest"]) byId(id).disabled = isCorrected;
    byId("drop-correction").hidden = !isCorrected;
    byId("drawn").hidden = view !== "mask";
    byId("levels").hidden = view !== "attention";
    const picture = { mask: "Overlay", probability: "Heat map", attention: "Attention" }[view];
    byId("save-view").textContent = picture;
    byId("save-view").setAttribute("aria-label", `Download the ${picture.toLowerCase()} (PNG)`);
    const opacity = this.opacity[this.kind()];
    byId("opacity").value = opacity;
    byId("opacity").disabled = view === "mask" && checked("drawn") === "contour";
    byId("opacity-value").textContent = `${Math.round(100 * opacity)} %`;
    byId("threshold").value = threshold;
    byId("threshold-value").textContent = thresholdText(threshold) + (this.item.threshold === null ? ", the model’s own" : "");
    byId("own").disabled = this.item.threshold === null && this.item.smallest === 0;
  }

  showFindings(threshold) {
    const { answer } = this.item;
    const { polyps } = this.found;
    const area = polyps.reduce((sum, polyp) => sum + polyp.area_px, 0);
    const mean = polyps.reduce((sum, polyp) => sum + polyp.area_px * polyp.mean_probability, 0) / (area || 1);
    byId("findings-title").textContent = polyps.length ? `${several(polyps.length, "region")} found` : "No polyp found";
    byId("findings-title").classList.toggle("none", polyps.length === 0);
    byId("verdict-detail").textContent = this.conditions(threshold) + (polyps.length ? (this.item.isEmpty ? FALSE_ALARM : "")
      : correctedMask(this.item) ? ""
      : ` The highest probability is ${probability(answer.max_probability)}. The model found none; this does not mean that there is none.`);
    const { height, width } = answer.image;
    const rows = [["Area", pixels(area), `${percent((100 * area) / (height * width))} of the image`]];
    if (polyps.length) {
      rows.push(["Largest extent", extent(polyps[0].box), "width × height"]);
      rows.push(["Mean probability", probability(mean), "inside the mask; not the chance that it is a polyp"]);
    }
    rows.push(["Highest probability", probability(answer.max_probability), "in the whole image"]);
    rows.push(...doubtRows(answer));
    rows.push(["Image", `${width} × ${height}`, `${Math.round(1000 * answer.seconds.total)} ms on the server`]);
    fillFacts(byId("figures"), rows);
    this.regions.show(polyps, answer.image);
  }

  /* At the model's own threshold a region also needs one sure pixel; at another, as in the API, it does not. */
  conditions(threshold) {
    const state = stateOf(this.item);
    if (state !== "predicted") return MADE_BY[state];
    const peak = this.item.answer.peak_threshold ?? 0;
    const hasPeak = this.item.threshold === null && peak > threshold;
    const words = hasPeak ? `; a region counts only if one of its pixels reaches ${thresholdText(peak)}` : "";
    return `At threshold ${thresholdText(threshold)}${words}.`;
  }

  /* Pixels by threshold: a steep curve is a doubtful mask, a flat one a sure one. */
  showCurve(threshold) {
    const { atLeast } = this.item.decoded;
    const canvas = byId("curve");
    const context = canvas.getContext("2d");
    const colours = getComputedStyle(document.documentElement);
    const { width, height } = canvas;
    const most = Math.max(...atLeast.slice(13), 1); // below 0.05 all of the image would count
    const yOf = (count) => height - 3 - ((height - 8) * Math.min(count, most)) / most;
    context.clearRect(0, 0, width, height);
    context.beginPath();
    context.moveTo(0, height);
    for (let level = 0; level < 256; level++) context.lineTo((level / 255) * width, yOf(atLeast[level]));
    context.lineTo(width, height);
    context.fillStyle = colours.getPropertyValue("--curve");
    context.fill();
    context.fillStyle = colours.getPropertyValue("--accent");
    context.fillRect(Math.min(width - 3, threshold * width - 1), 0, 3, height);
    const share = (level) => percent((100 * atLeast[Math.ceil(255 * level)]) / this.item.decoded.map.length);
    const isFound = this.found.polyps.length > 0 && atLeast[64] > 0;
    const words = `${share(0.25)} of the image reaches 0.25, ${share(0.75)} reaches 0.75${isFound ? ": the closer the two, the surer the edge." : "."}`;
    byId("doubt").textContent = words;
    canvas.setAttribute("aria-label", `Pixels by threshold. ${words}`);
  }

  /* What the JSON file holds: the server's answer without its pictures, or what was recomputed here. */
  record() {
    const { item, found } = this;
    const { probability: map, overlay, attention, attention_level, ...answer } = item.answer;
    const state = stateOf(item);
    if (isOwn(item)) return { file: item.name, ...answer };
    const { width, height } = answer.image;
    const area = found.polyps.reduce((sum, polyp) => sum + polyp.area_px, 0);
    const weighted = found.polyps.reduce((sum, polyp) => sum + polyp.area_px * polyp.mean_probability, 0);
    return {
      file: item.name,
      ...answer,
      recomputed: state === "predicted"
        ? "by the page, from the probability map in 8 bit; polygons are left out"
        : `by hand (${state}); polygons are left out`,
      threshold: item.threshold ?? answer.threshold,
      peak_threshold: item.threshold === null ? answer.peak_threshold : 0,
      min_area: item.smallest,
      area_px: area,
      area_percent: (100 * area) / (width * height),
      num_components: found.polyps.length,
      mean_probability: area ? weighted / area : null,
      polyps: found.polyps.map((polyp) => ({ polygon: null, ...polyp })),
      mask: encodeRunLengths(found.mask, width, height),
    };
  }

  /** What was found, in a sentence. */
  sentence() {
    const { polyps } = this.found;
    const share = polyps.reduce((sum, polyp) => sum + polyp.area_percent, 0);
    return polyps.length ? `${several(polyps.length, "region")} found, ${percent(share)} of the image` : "no polyp found";
  }
}

const extent = ([, , width, height]) => `${width} × ${height} px`;
