// The controls of a scan page: layers, views, the table of lesions, the place of the crosshair, keys.

const byId = (id) => document.getElementById(id);
const KEYS = { 1: "mask", 2: "brain", 3: "probability", 4: "uncertainty", 5: "reference" };
// Voxels along left to right, back to front and foot to head; the patient's right is at the left.
const STEPS = { ArrowLeft: [1, 0, 0], ArrowRight: [-1, 0, 0], ArrowUp: [0, 1, 0], ArrowDown: [0, -1, 0], PageUp: [0, 0, 1], PageDown: [0, 0, -1] };

async function startScanPage() {
  const facts = JSON.parse(byId("facts").textContent);
  const message = byId("message");
  try {
    await loadLibrary(byId("library").textContent);
    const scan = await unpackScan(JSON.parse(byId("volumes").textContent));
    const shown = [...document.querySelectorAll("[data-layer]")].map((box) => [box.dataset.layer, box.checked && box.dataset.layer in MARKS]);
    const viewer = new ScanViewer(byId("view"), { ...scan, visible: Object.fromEntries(shown), onMove: (place) => tell(viewer, place, facts) });
    await viewer.open();
    connect(viewer, facts);
    message.hidden = true;
    window.mappingViewer = viewer;
    document.documentElement.dataset.state = "ready";
    setTimeout(() => {
      document.documentElement.dataset.render = String(viewer.addRender());
    }, 100);
  } catch (error) {
    message.textContent = `The interactive view could not start (${error.message ?? error}). A current browser with WebGL 2 is needed; the picture below shows the lesions.`;
    document.documentElement.dataset.state = "failed";
  }
}

function connect(viewer, facts) {
  const layers = [...document.querySelectorAll("[data-layer]")];
  for (const box of layers) {
    viewer.show(box.dataset.layer, box.checked);
    box.addEventListener("change", () => viewer.show(box.dataset.layer, box.checked));
  }
  const rows = [...document.querySelectorAll("[data-lesion]")];
  let current = -1;
  const goTo = (number) => {
    if (!rows.length) return;
    current = (number + rows.length) % rows.length;
    rows.forEach((row, index) => row.classList.toggle("here", index === current));
    rows[current].scrollIntoView({ block: "nearest" });
    viewer.goTo(JSON.parse(rows[current].dataset.mm));
  };
  rows.forEach((row, index) => row.querySelector("button").addEventListener("click", () => goTo(index)));
  const views = [...document.querySelectorAll("[data-view]")];
  const choose = (button) => {
    views.forEach((each) => each.setAttribute("aria-pressed", String(each === button)));
    viewer.layout(button.dataset.view, facts.heights);
  };
  views.forEach((button) => button.addEventListener("click", () => choose(button)));
  byId("fill").addEventListener("input", (event) => viewer.fill(Number(event.target.value)));
  onKeys((event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return false;
    const step = event.target === viewer.canvas && STEPS[event.key];
    const layer = layers.find((box) => box.dataset.layer === KEYS[event.key]);
    const view = views.find((button) => button.dataset.key === event.key);
    if (layer) layer.click();
    else if (view) choose(view);
    else if (step) viewer.step(step);
    else if (event.key === "n") goTo(current + 1);
    else if (event.key === "p") goTo(Math.max(current, 0) - 1);
    else return false;
    return true;
  });
  if (rows.length) goTo(0);
  else viewer.goTo(facts.middle);
}

function tell(viewer, place, facts) {
  const mm = Array.from(place.mm).slice(0, 3);
  const inMni = facts.to_mni && facts.to_mni.slice(0, 3).map((row) => row[0] * mm[0] + row[1] * mm[1] + row[2] * mm[2] + row[3]);
  const { scan, probability, uncertainty } = viewer.values(place.vox);
  const lines = [`scan: ${words(mm)} mm, intensity ${scan.toPrecision(4)}`];
  if (inMni) lines.unshift(`MNI152: ${words(inMni)} mm`);
  lines.push(`P(lesion) ${probability.toFixed(2)}` + (uncertainty === undefined ? "" : `, uncertainty ${uncertainty.toFixed(2)}`));
  byId("place").innerText = lines.join("\n");
}

const words = (mm) => mm.map((value) => (Math.round(value) + 0).toFixed(0)).join(", ");

startScanPage();
