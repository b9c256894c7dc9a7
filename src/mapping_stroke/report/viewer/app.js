// The first page of the app: drop scans, watch them, and choose one to look at.

const byId = (id) => document.getElementById(id);
let scans = [];
const drawn = {};

function tell(text, isError = false) {
  byId("message").textContent = text;
  byId("message").className = isError ? "failure" : "";
}

// Draws a part of the page if it is not what is there: drawing anew takes away the focus and the selection.
function update(part, value, draw) {
  const text = JSON.stringify(value);
  if (drawn[part] === text) return;
  drawn[part] = text;
  draw(value);
}

async function refresh() {
  let busy = true;
  try {
    const state = await ask("state");
    scans = state.scans;
    update("jobs", state.jobs, showJobs);
    update("scans", scans, showScans);
    byId("group").hidden = !state.group;
    if (state.group) byId("group").firstElementChild.href = `scan/${state.group}`;
    document.title = `${scans.length} scan${scans.length === 1 ? "" : "s"}: stroke lesions`;
    if (refresh.failed) tell("");
    refresh.failed = false;
    busy = state.jobs.some((job) => job.state === "waiting" || job.state === "running");
  } catch (error) {
    refresh.failed = true;
    tell(`The app does not answer (${error.message}). Is it still running?`, true);
  }
  clearTimeout(refresh.timer);
  refresh.timer = setTimeout(refresh, busy ? 700 : 5000);
}

function showJobs(jobs) {
  byId("jobs").replaceChildren(...jobs.map((job) => {
    const row = make("div", { className: `job ${job.state}` }, make("strong", {}, job.name), ` ${job.state}`);
    if (job.state === "running") row.append(make("progress", { max: 1, ...(job.share ? { value: job.share } : {}), ariaLabel: `Progress of ${job.name}` }));
    row.append(make("div", { className: job.state === "failed" ? "failure" : "muted" }, job.line));
    return row;
  }));
}

const CHOICES = {
  "": () => true,
  unrated: (scan) => !scan.rating,
  flagged: (scan) => scan.reasons.length > 0,
  edited: (scan) => scan.edited !== "",
  failed: (scan) => scan.status === "failed",
};

function showScans() {
  const words = byId("find").value.toLowerCase();
  const shown = scans.filter((scan) => CHOICES[byId("which").value](scan) && `${scan.name} ${scan.note} ${scan.reasons.join(" ")}`.toLowerCase().includes(words));
  byId("heading").textContent = `Scans (${shown.length === scans.length ? scans.length : `${shown.length} of ${scans.length}`})`;
  byId("scans").replaceChildren(...shown.map((scan) => make("tr", {},
    make("td", {}, scan.page ? make("a", { href: `scan/${encodeURIComponent(scan.name)}` }, scan.name) : scan.name),
    make("td", { className: "number" }, scan.load_ml === null ? "n/a" : scan.load_ml.toFixed(2) + (scan.edited ? " (corrected)" : "")),
    make("td", {}, scan.reasons.join("; ")),
    make("td", {}, scan.rating),
    make("td", {}, scan.note))));
}

async function upload(files) {
  const all = [...files].filter((file) => !(file.relative ?? file.name).split("/").pop().startsWith("."));
  if (!all.length) return tell("Nothing was dropped that can be read: drop NIfTI files, or a folder with DICOM files.", true);
  const form = new FormData();
  for (const file of all) form.append("files", file, file.relative || file.webkitRelativePath || file.name);
  tell(`Copying ${all.length} file${all.length === 1 ? "" : "s"} …`);
  try {
    await ask("upload", { method: "POST", body: form });
    tell("");
  } catch (error) {
    tell(error.message, true);
  }
  refresh();
}

// All files in what was dropped; folders are entered.
async function filesIn(entry, path = "") {
  if (entry.isFile) {
    const file = await new Promise((give, fail) => entry.file(give, fail));
    file.relative = path + entry.name;
    return [file];
  }
  const reader = entry.createReader();
  const found = [];
  for (;;) {
    const some = await new Promise((give, fail) => reader.readEntries(give, fail));
    if (!some.length) return found;
    for (const each of some) found.push(...(await filesIn(each, `${path}${entry.name}/`)));
  }
}

const drop = byId("drop");
for (const kind of ["dragenter", "dragover"]) document.addEventListener(kind, (event) => { event.preventDefault(); drop.classList.add("over"); });
for (const kind of ["dragleave", "drop"]) document.addEventListener(kind, (event) => { event.preventDefault(); drop.classList.remove("over"); });
document.addEventListener("drop", async (event) => {
  const entries = [...event.dataTransfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  const files = entries.length ? (await Promise.all(entries.map((entry) => filesIn(entry)))).flat() : event.dataTransfer.files;
  upload(files);
});
byId("choose-files").addEventListener("click", () => byId("files").click());
byId("choose-folder").addEventListener("click", () => byId("folder").click());
for (const id of ["files", "folder"]) byId(id).addEventListener("change", (event) => upload(event.target.files));
byId("find").addEventListener("input", showScans);
byId("which").addEventListener("change", showScans);
byId("open").addEventListener("submit", async (event) => {
  event.preventDefault();
  try {
    await ask("open", { method: "POST", body: JSON.stringify({ folder: byId("path").value }) });
    location.reload(); // the page names the folder in two places
  } catch (error) {
    tell(error.message, true);
  }
});
refresh();
