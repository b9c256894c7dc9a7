// In the app, the page of a scan has a panel: rate the result, correct the mask, go to the next scan.

const RATINGS = { accept: ["Accept", "y"], doubtful: ["Doubtful", "u"], reject: ["Reject", "x"] };
const TOOLS = { brush: ["Brush", "b"], eraser: ["Eraser", "r"], fill: ["Filled outline", "f"], undo: ["Undo", "z"] };

class Review {
  constructor() {
    Object.assign(this, JSON.parse(byId("app").textContent));
    this.editing = false;
    this.panel = make("section", { className: "panel", ariaLabel: "Review" });
    document.querySelector("header").append(this.panel);
  }

  async open() {
    this.found = await this.ask("review");
    this.draw();
    addEventListener("beforeunload", (event) => { if (this.changed) event.preventDefault(); });
    document.addEventListener("keydown", (event) => this.press(event));
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
    this.note = make("textarea", { rows: 1, value: this.found.note, ariaLabel: "Note", placeholder: "Note", onchange: () => this.rate(this.found.rating) });
    this.ratings = Object.entries(RATINGS).map(([rating, [text, key]]) => make("button", { textContent: `${text} (${key})`, onclick: () => this.rate(this.found.rating === rating ? "" : rating), id: `rate-${rating}` }));
    this.editBar = make("div", { className: "bar", hidden: true });
    this.editButton = make("button", { textContent: "Correct the mask (e)", id: "edit", onclick: () => this.startEdit() });
    this.panel.replaceChildren(
      make("div", { className: "bar" },
        make("button", { textContent: "All scans (l)", onclick: () => this.leaveTo(`${this.root}/`) }),
        go(this.found.before, "Previous", ","), go(this.found.after, "Next", "."),
        make("span", { className: "muted", textContent: this.found.place }),
        ...this.ratings, this.note, this.editButton),
      this.editBar, this.message,
      make("ul", { className: "warnings", hidden: !this.found.warnings.length }, ...this.found.warnings.map((text) => make("li", { textContent: text }))));
    this.mark();
  }

  mark() {
    this.ratings.forEach((button) => button.setAttribute("aria-pressed", String(button.id === `rate-${this.found.rating}`)));
    const regions = byId("regions");
    if (regions && this.found.regions) regions.innerHTML = this.found.regions; // escaped by the server
    if (this.found.edited) this.tell(`The mask was corrected: ${this.found.edited_ml.toFixed(2)} mL. The original is kept.`);
  }

  tell(text, isError = false) {
    this.message.textContent = text;
    this.message.className = isError ? "failure" : "muted";
  }

  async rate(rating) {
    try {
      const body = JSON.stringify({ rating, note: this.note.value, revision: this.found.revision });
      Object.assign(this.found, await this.ask("rate", { method: "POST", body }));
      this.tell("Saved.");
      this.mark();
    } catch (error) {
      this.tell(error.message, true);
    }
  }

  leave(name) {
    if (name) this.leaveTo(`${this.root}/scan/${encodeURIComponent(name)}`);
  }

  leaveTo(address) {
    if (!this.changed || confirm("The corrected mask is not saved. Leave it?")) {
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
    this.shownBefore = { ...viewer.visible };
    for (const name of ["brain", "reference"]) viewer.visible[name] = false;
    viewer.visible.mask = true;
    viewer.redrawMarks();
    nv.drawClearAllUndoBitmaps();
    nv.drawAddUndoBitmap();
    viewer.fill(0.3);
    const size = make("input", { type: "number", min: 1, max: 15, value: 3, ariaLabel: "Width of the brush in voxels", oninput: () => { nv.opts.penSize = Number(size.value); } });
    nv.opts.penSize = 3;
    const level = make("input", { type: "range", min: 1, max: 99, value: 50, ariaLabel: "Mark all with P(lesion) above", oninput: () => this.threshold(level, shown) });
    const shown = make("span", { className: "muted", textContent: "P > 0.50" });
    this.tools = Object.entries(TOOLS).map(([tool, [text, key]]) => make("button", { textContent: `${text} (${key})`, id: `tool-${tool}`, onclick: () => this.take(tool) }));
    this.editBar.replaceChildren(...this.tools, make("label", {}, "width ", size), make("label", {}, "start from ", level), shown,
      make("button", { textContent: "Save (s)", id: "save", onclick: () => this.save() }),
      make("button", { textContent: "Cancel (q)", id: "cancel", onclick: () => this.endEdit(true) }));
    this.editBar.hidden = false;
    this.editButton.disabled = true;
    this.take("brush");
    this.changed = true;
    this.tell("Draw in any plane; scroll for other slices.");
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

  async save() {
    const mask = mappingViewer.nv.drawBitmap.map((value) => value & 1);
    const stream = new Blob([mask]).stream().pipeThrough(new CompressionStream("gzip"));
    try {
      this.tell("Saving …");
      const body = await new Response(stream).arrayBuffer();
      const saved = await this.ask("edit", { method: "POST", body }, `?revision=${this.found.revision}`);
      Object.assign(this.found, saved);
      this.before = mappingViewer.marks.slice();
      for (let voxel = 0; voxel < mask.length; voxel++) this.before[voxel] = (this.before[voxel] & ~MARKS.mask) | mask[voxel];
      this.endEdit(false);
      this.mark();
      if (saved.warnings.length) this.tell(`${this.message.textContent} ${saved.warnings.join("; ")}`, true);
    } catch (error) {
      this.tell(error.message, true); // what was drawn is still there
    }
  }

  endEdit(ask) {
    if (!this.editing || (ask && !confirm("Drop what you have drawn?"))) return;
    const viewer = mappingViewer;
    viewer.nv.setDrawingEnabled(false);
    viewer.marks = this.before;
    Object.assign(viewer.visible, this.shownBefore);
    viewer.redrawMarks();
    viewer.fill(Number(byId("fill").value));
    Object.assign(this, { editing: false, changed: false });
    this.editBar.hidden = true;
    this.editButton.disabled = false;
    this.tell("");
  }

  press(event) {
    if (isTyping(event)) return;
    if ((event.ctrlKey || event.metaKey) && event.key === "z" && this.editing) { this.take("undo"); event.preventDefault(); return; }
    if (event.ctrlKey || event.metaKey || event.altKey) return;
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
    else return;
    event.preventDefault();
  }
}

window.mappingReview = new Review();
window.mappingReview.open();
