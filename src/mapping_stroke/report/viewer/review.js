// In the app, the page of a scan has a panel: rate the result, correct the mask, go to the next scan.

const RATINGS = { accept: ["Accept", "y"], doubtful: ["Doubtful", "u"], reject: ["Reject", "x"] };
const TOOLS = { brush: ["Brush", "b"], eraser: ["Eraser", "r"], fill: ["Filled outline", "f"], undo: ["Undo", "z"] };

class Review {
  constructor() {
    Object.assign(this, JSON.parse(byId("app").textContent));
    this.editing = false;
    this.sent = Promise.resolve(); // the last change
    this.panel = make("section", { className: "panel", ariaLabel: "Review" });
    document.querySelector("header").append(this.panel);
  }

  async open() {
    this.found = await this.ask("review");
    this.draw();
    addEventListener("beforeunload", (event) => { if (this.changed || this.note.value !== this.found.note) event.preventDefault(); });
    onKeys((event) => this.press(event));
    await new Promise((done) => {
      const wait = setInterval(() => { if (window.mappingViewer || document.documentElement.dataset.state === "failed") { clearInterval(wait); done(); } }, 50);
    });
    if (this.found.edited && window.mappingViewer) await this.loadMask();
    document.documentElement.dataset.review = "ready";
  }

  ask(what, options, query = "") {
    return ask(`${this.root}/${what}/${encodeURIComponent(this.name)}${query}`, options);
  }

  draw() {
    const go = (name, text, key) => make("button", { textContent: `${text} (${key})`, disabled: !name, onclick: () => this.leave(name) });
    this.message = make("p", { role: "status" });
    this.message.setAttribute("aria-live", "polite");
    this.corrected = make("p", { hidden: true });
    this.note = make("textarea", { rows: 1, value: this.found.note, ariaLabel: "Note", placeholder: "Note", onchange: () => this.rate() });
    this.ratings = Object.entries(RATINGS).map(([rating, [text, key]]) => make("button", { textContent: `${text} (${key})`, onclick: () => this.rate(this.found.rating === rating ? "" : rating), id: `rate-${rating}` }));
    this.editBar = make("div", { className: "bar", hidden: true });
    this.editButton = make("button", { textContent: "Correct the mask (e)", id: "edit", onclick: () => this.startEdit() });
    this.panel.replaceChildren(
      make("div", { className: "bar" },
        make("button", { textContent: "All scans (l)", onclick: () => this.leaveTo(`${this.root}/`) }),
        go(this.found.before, "Previous", ","), go(this.found.after, "Next", "."),
        make("span", { className: "muted", textContent: this.found.place }),
        ...this.ratings, this.note, this.editButton),
      this.editBar, this.corrected, this.message,
      make("ul", { className: "warnings", hidden: !this.found.warnings.length }, ...this.found.warnings.map((text) => make("li", { textContent: text }))));
    this.mark();
  }

  mark() {
    this.ratings.forEach((button) => button.setAttribute("aria-pressed", String(button.id === `rate-${this.found.rating}`)));
    const regions = byId("regions");
    if (regions && this.found.regions) regions.innerHTML = this.found.regions; // escaped by the server
    this.corrected.hidden = !this.found.edited;
    if (!this.found.edited) return;
    const rest = regions ? "All other numbers on this page but the volumes by region" : "All other numbers on this page";
    this.corrected.textContent = `The mask was corrected: ${this.found.edited_ml.toFixed(2)} mL. The original is kept. ${rest} are those of the original.`;
  }

  tell(text, isError = false) {
    this.message.textContent = text;
    this.message.className = isError ? "failure" : "muted";
  }

  // Changes are sent one after another, as each names the revision that the one before it made.
  change(send) {
    this.sent = this.sent.then(send).catch((error) => this.tell(error.message, true));
    return this.sent;
  }

  // Stores the note, and a rating if one is given.
  rate(rating) {
    return this.change(async () => {
      const note = this.note.value;
      const body = JSON.stringify({ rating: rating ?? this.found.rating, note, revision: this.found.revision });
      Object.assign(this.found, await this.ask("rate", { method: "POST", body }), { note });
      this.tell("Saved.");
      this.mark();
    });
  }

  leave(name) {
    if (name) this.leaveTo(`${this.root}/scan/${encodeURIComponent(name)}`);
  }

  async leaveTo(address) {
    await this.sent;
    if (!this.changed || confirm("Your correction is not saved. Leave this page?")) {
      this.changed = false;
      location.href = address;
    }
  }

  async loadMask() {
    this.put(new Uint8Array(await inflate(await this.ask("mask"))));
  }

  // Shows a mask of 0 and 1 instead of the one that is shown.
  put(mask) {
    const { marks } = mappingViewer;
    for (let voxel = 0; voxel < marks.length; voxel++) marks[voxel] = (marks[voxel] & ~MARKS.mask) | mask[voxel];
    mappingViewer.redrawMarks();
  }

  startEdit() {
    const viewer = window.mappingViewer;
    if (!viewer || this.editing) return;
    const { nv } = viewer;
    this.editing = true;
    this.before = viewer.marks.slice();
    this.showMarks((box) => box.dataset.layer === "mask", true);
    nv.drawClearAllUndoBitmaps();
    nv.drawAddUndoBitmap();
    viewer.fill(0.3);
    const size = make("input", { type: "number", min: 1, max: 15, value: 3, ariaLabel: "Width of the brush in voxels", oninput: () => { nv.opts.penSize = Number(size.value); } });
    nv.opts.penSize = 3;
    const level = make("input", { type: "range", min: 1, max: 99, value: 50, ariaLabel: "Mark all with P(lesion) above", oninput: () => this.threshold(level, shown) });
    const shown = make("span", { className: "muted" });
    this.tools = Object.entries(TOOLS).map(([tool, [text, key]]) => make("button", { textContent: `${text} (${key})`, id: `tool-${tool}`, onclick: () => this.take(tool) }));
    this.editBar.replaceChildren(...this.tools, make("label", {}, "width ", size), make("label", {}, "replace by P above ", level), shown,
      make("button", { textContent: "Save (s)", id: "save", onclick: () => this.save() }),
      make("button", { textContent: "Cancel (q)", id: "cancel", onclick: () => this.endEdit(true) }));
    this.editBar.hidden = false;
    this.editButton.disabled = true;
    this.take("brush");
    this.changed = true;
    this.tell("Draw in any plane; scroll for other slices.");
  }

  // Which marks are shown. They share a layer with what is drawn, so they cannot be switched meanwhile.
  showMarks(isShown, editing) {
    for (const box of document.querySelectorAll("[data-layer]")) {
      if (!(box.dataset.layer in MARKS)) continue;
      box.disabled = editing;
      mappingViewer.visible[box.dataset.layer] = isShown(box);
    }
    mappingViewer.redrawMarks();
  }

  take(tool) {
    const { nv } = mappingViewer;
    if (tool === "undo") { nv.drawUndo(); return; }
    nv.setDrawingEnabled(true);
    nv.setPenValue(tool === "eraser" ? 0 : 1, tool === "fill");
    this.tools.forEach((button) => button.setAttribute("aria-pressed", String(button.id === `tool-${tool}`)));
  }

  threshold(level, shown) {
    const { nv, volumes } = mappingViewer;
    const map = new Uint8Array(volumes.probability, new DataView(volumes.probability).getFloat32(108, true));
    const least = Number(level.value) / 100;
    shown.textContent = `P > ${least.toFixed(2)}`;
    for (let voxel = 0; voxel < nv.drawBitmap.length; voxel++) nv.drawBitmap[voxel] = map[voxel] > 255 * least ? 1 : 0;
    nv.refreshDrawing(true);
    clearTimeout(this.settled);
    this.settled = setTimeout(() => nv.drawAddUndoBitmap(), 300);
  }

  save() {
    const mask = mappingViewer.nv.drawBitmap.map((value) => value & 1);
    const stream = new Blob([mask]).stream().pipeThrough(new CompressionStream("gzip"));
    return this.change(async () => { // if it fails, what was drawn is still there
      this.tell("Saving …");
      const body = await new Response(stream).arrayBuffer();
      const saved = await this.ask("edit", { method: "POST", body }, `?revision=${this.found.revision}`);
      Object.assign(this.found, saved);
      this.before = mappingViewer.marks.slice();
      for (let voxel = 0; voxel < mask.length; voxel++) this.before[voxel] = (this.before[voxel] & ~MARKS.mask) | mask[voxel];
      this.endEdit(false);
      this.mark();
      if (saved.warnings.length) this.tell(saved.warnings.join("; "), true);
      else this.tell("Saved.");
    });
  }

  endEdit(ask) {
    if (!this.editing || (ask && !confirm("Discard your changes?"))) return;
    const viewer = mappingViewer;
    viewer.nv.setDrawingEnabled(false);
    viewer.marks = this.before;
    this.showMarks((box) => box.checked, false);
    viewer.fill(Number(byId("fill").value));
    Object.assign(this, { editing: false, changed: false });
    this.editBar.hidden = true;
    this.editButton.disabled = false;
    this.tell("");
  }

  // Whether a key was one of the panel's.
  press(event) {
    if ((event.ctrlKey || event.metaKey) && event.key === "z" && this.editing) { this.take("undo"); return true; }
    if (event.ctrlKey || event.metaKey || event.altKey) return false;
    const rating = Object.keys(RATINGS).find((name) => RATINGS[name][1] === event.key);
    const tool = this.editing && Object.keys(TOOLS).find((name) => TOOLS[name][1] === event.key);
    if (rating) byId(`rate-${rating}`).click();
    else if (tool) this.take(tool);
    else if (event.key === "e") this.startEdit();
    else if (event.key === "s" && this.editing) this.save();
    else if (event.key === "q" && this.editing) this.endEdit(true);
    else if (event.key === ".") this.leave(this.found.after);
    else if (event.key === ",") this.leave(this.found.before);
    else if (event.key === "l") this.leaveTo(`${this.root}/`);
    else return false;
    return true;
  }
}

window.mappingReview = new Review();
window.mappingReview.open();
