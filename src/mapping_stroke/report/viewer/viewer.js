// The interactive view of one scan: anatomy, maps and outlines in three planes and 3-D, by NiiVue.
// Used by the scan page and by the app; needs the global `niivue`.

const MARKS = { mask: 1, reference: 2, brain: 4 }; // bits of the drawing layer
const PLANES = 3, AXIAL = 0, RENDER = 4; // NiiVue's SLICE_TYPE
const MOSAIC_TILES = 12, MOSAIC_COLUMNS = 4;
const SLOW_MS = 250; // a browser without graphics hardware takes longer to draw 3-D, at every move of the crosshair

// Outlines are cut from bits of one layer, in the plane shown, a constant number of pixels wide: solid for the lesions,
// dashed for the reference, dotted for the brain. drawRimOpacity is their width plus the opacity of the fill, below 1.
// NiiVue finds uniforms only if each has a line of its own.
const OUTLINES = `#version 300 es
precision highp int;
precision highp float;
uniform highp sampler3D volume, overlay;
uniform highp sampler3D drawing;
uniform float overlays;
uniform float opacity;
uniform float drawRimOpacity;
in vec3 texPos;
out vec4 color;
int bits(vec3 place) { return int(texture(drawing, place).r * 255.0 + 0.5); }
int edges(int here, vec3 along, vec3 down) {
  int around = bits(texPos - along) & bits(texPos + along) & bits(texPos - down) & bits(texPos + down)
    & bits(texPos - along - down) & bits(texPos + along + down);
  return here & ~around;
}
bool dashed(float size) {
  vec2 cell = floor(gl_FragCoord.xy / size);
  return mod(cell.x + cell.y, 2.0) < 1.0;
}
void main() {
  vec4 anatomy = texture(volume, texPos);
  color = vec4(anatomy.rgb, opacity);
  if (overlays > 0.0) {
    vec4 map = texture(overlay, texPos);
    color.rgb = mix(color.rgb, map.rgb, map.a);
  }
  int here = bits(texPos);
  if (here == 0) return;
  float width = max(floor(drawRimOpacity), 1.0);
  int edge = edges(here, dFdx(texPos) * width, dFdy(texPos) * width);
  if ((edge & 4) != 0 && dashed(width)) color.rgb = vec3(0.62, 0.78, 1.0);
  if ((here & 1) != 0) color.rgb = mix(color.rgb, vec3(1.0, 0.6, 0.18), fract(drawRimOpacity));
  if ((edge & 2) != 0 && dashed(3.0 * width)) color.rgb = vec3(0.2, 0.95, 0.9);
  if ((edge & 1) != 0) color.rgb = vec3(1.0, 0.6, 0.18);
}`;

const COLOURS = { // of the drawing layer in 3-D, by value; a brain alone is transparent there
  R: [0, 255, 50, 255, 0, 255, 50, 255],
  G: [0, 153, 240, 153, 0, 153, 240, 153],
  B: [0, 46, 230, 46, 0, 46, 230, 46],
  A: [0, 255, 160, 255, 0, 255, 160, 255],
  labels: ["", "lesion", "reference", "both", "brain", "lesion", "reference", "both"],
};
// Maps in colours that differ from those of the outlines.
const BLUES = { R: [0, 20, 0, 60, 215], G: [0, 30, 90, 190, 250], B: [0, 120, 230, 255, 255], A: [0, 90, 120, 140, 165], I: [0, 40, 110, 180, 255] };
const PINKS = { R: [0, 90, 200, 255, 255], G: [0, 0, 20, 110, 225], B: [0, 90, 130, 190, 235], A: [0, 90, 120, 140, 165], I: [0, 40, 110, 180, 255] };

const MAPS = { // as NiiVue calls it
  probability: { colormap: "lesion probability", cal_min: 0.05, cal_max: 1 },
  uncertainty: { colormap: "uncertainty", cal_min: 0.05, cal_max: 0.5 },
};

async function unpack(base64) {
  return inflate(Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0)));
}

function inflate(bytes) {
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).arrayBuffer();
}

// The part of a scan that a page embeds: its maps and marks, as `ScanViewer` takes them.
async function unpackScan(packed) {
  const volumes = {};
  for (const [name, text] of Object.entries(packed.maps)) volumes[name] = await unpack(text);
  return { volumes, marks: new Uint8Array(await unpack(packed.marks)) };
}

// Starts the library that a page embeds.
async function loadLibrary(base64) {
  if (!base64) throw new Error("the program that wrote this page was installed without the viewer");
  const script = document.createElement("script");
  script.textContent = new TextDecoder().decode(await unpack(base64));
  document.head.append(script);
}

class ScanViewer {
  // canvas: to draw on; volumes: {scan, probability, uncertainty} as NIfTI buffers; marks: bits of MARKS per voxel;
  // visible: layers shown at first; onMove: called with the place of the crosshair.
  constructor(canvas, { volumes, marks, visible = {}, onMove = () => {} }) {
    this.canvas = canvas;
    this.volumes = volumes;
    this.marks = marks;
    this.visible = { mask: true, reference: true, brain: false, probability: false, uncertainty: false, ...visible };
    this.onMove = onMove;
  }

  async open() {
    const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
    this.nv = new niivue.Niivue({
      backColor: [0, 0, 0, 1],
      crosshairColor: [0.25, 0.9, 0.45, 0.8],
      crosshairWidth: 0.15,
      crosshairWidthUnit: "percent",
      dragAndDropEnabled: false,
      isRadiologicalConvention: true,
      isSliceMM: true,
      loadingText: "",
      logLevel: "error",
      multiplanarShowRender: niivue.SHOW_RENDER.NEVER,
      multiplanarEqualSize: true,
      show3Dcrosshair: !still,
      fontMinPx: 16,
      fontColor: [0.85, 0.87, 0.9, 1],
      viewModeHotKey: "",
      cycleClipPlaneHotKey: "",
    });
    await this.nv.attachToCanvas(this.canvas);
    this.nv.addColormap("lesion probability", BLUES);
    this.nv.addColormap("uncertainty", PINKS);
    this.nv.setCustomSliceShader(OUTLINES); // before there is a volume, which would be computed again
    this.nv.drawLut = niivue.cmapper.makeDrawLut(COLOURS);
    await this.nv.loadFromArrayBuffer(this.volumes.scan, "scan.nii");
    this.index = { scan: 0 };
    this.nv.createEmptyDrawing();
    this.nv.drawRimOpacity = this.rim(0);
    this.nv.onLocationChange = (place) => this.onMove(place);
    this.nv.setSliceType(PLANES);
    this.redrawMarks();
    return this;
  }

  // Adds 3-D to the planes, unless this browser draws it too slowly. Returns whether it did.
  addRender() {
    const start = performance.now();
    this.nv.opts.multiplanarShowRender = niivue.SHOW_RENDER.ALWAYS;
    this.nv.drawScene();
    this.nv.gl.readPixels(0, 0, 1, 1, this.nv.gl.RGBA, this.nv.gl.UNSIGNED_BYTE, new Uint8Array(4)); // waits for it
    if (performance.now() - start < SLOW_MS) return true;
    this.nv.opts.multiplanarShowRender = niivue.SHOW_RENDER.NEVER;
    this.nv.drawScene();
    return false;
  }

  // Which layers of `visible` are shown. A map is given to the graphics hardware when it is first shown.
  show(name, shown) {
    this.shown = this.change(name, shown); // resolved when it is drawn
    return this.shown;
  }

  async change(name, shown) {
    if (this.visible[name] === shown) return;
    this.visible[name] = shown;
    if (name in MARKS) return this.redrawMarks();
    if (shown && !(name in this.index)) {
      this.index[name] = this.nv.volumes.length;
      await this.nv.loadFromArrayBuffer(this.volumes[name], `${name}.nii`);
      Object.assign(this.nv.volumes[this.index[name]], MAPS[name]);
    }
    if (name in this.index) this.nv.setOpacity(this.index[name], shown ? 1 : 0);
  }

  // Values of all maps at a voxel.
  values([x, y, z]) {
    return Object.fromEntries(Object.entries(this.volumes).map(([name, buffer]) => {
      const header = new DataView(buffer);
      const [width, height] = [header.getInt16(42, true), header.getInt16(44, true)];
      const stored = header.getUint8(header.getFloat32(108, true) + x + width * (y + height * z));
      return [name, stored * header.getFloat32(112, true) + header.getFloat32(116, true)];
    }));
  }

  rim(opacity) {
    return Math.max(1, Math.round(this.canvas.height / 600)) + opacity;
  }

  // Opacity of the lesions' inside in slices, 0 to 0.9.
  fill(opacity) {
    this.nv.drawRimOpacity = this.rim(opacity);
    this.nv.drawScene();
  }

  redrawMarks() {
    const shown = Object.entries(MARKS).reduce((bits, [name, bit]) => bits | (this.visible[name] ? bit : 0), 0);
    const target = this.nv.drawBitmap;
    for (let voxel = 0; voxel < target.length; voxel++) target[voxel] = this.marks[voxel] & shown;
    this.nv.refreshDrawing(true);
  }

  // Moves the crosshair to a place in millimetres of the scan.
  goTo(mm) {
    this.nv.scene.crosshairPos = this.nv.mm2frac(mm);
    this.nv.createOnLocationChange();
    this.nv.drawScene();
  }

  // Moves the crosshair by voxels along the three axes.
  step(voxels) {
    this.nv.moveCrosshairInVox(...voxels);
  }

  // Moves the crosshair to the axial slice with the most marks, in their middle.
  goToMarks() {
    const [, width, height, depth] = this.nv.volumes[0].dims;
    const sums = Array.from({ length: depth }, () => [0, 0, 0]);
    this.marks.forEach((bits, voxel) => {
      if (!(bits & (MARKS.mask | MARKS.reference))) return;
      const sum = sums[Math.floor(voxel / (width * height))];
      sum[0] += 1;
      sum[1] += voxel % width;
      sum[2] += Math.floor(voxel / width) % height;
    });
    const z = sums.reduce((best, sum, index) => (sum[0] > sums[best][0] ? index : best), 0);
    const [count, x, y] = sums[z];
    if (!count) return;
    this.nv.scene.crosshairPos = [(x / count + 0.5) / width, (y / count + 0.5) / height, (z + 0.5) / depth];
    this.nv.drawScene();
  }

  get place() {
    return Array.from(this.nv.frac2mm(this.nv.scene.crosshairPos)).slice(0, 3);
  }

  // mode: "planes", "axial", "mosaic" or "3-D"; the mosaic shows axial slices at these heights in mm.
  layout(mode, heights = []) {
    const tiles = spread(heights, MOSAIC_TILES).map((z) => z.toFixed(1));
    const rows = Array.from({ length: Math.ceil(tiles.length / MOSAIC_COLUMNS) }, (_, row) =>
      `A ${tiles.slice(row * MOSAIC_COLUMNS, (row + 1) * MOSAIC_COLUMNS).join(" ")}`);
    this.nv.setSliceMosaicString(mode === "mosaic" ? rows.join(" ; ") : "");
    this.nv.setSliceType({ planes: PLANES, axial: AXIAL, mosaic: AXIAL, "3-D": RENDER }[mode]);
  }
}

// Calls `press` with each key that is not typed into a field, before the library sees it, which gives some keys another
// meaning; it tells whether it took the key.
function onKeys(press) {
  document.addEventListener("keydown", (event) => {
    if (isTyping(event) || !press(event)) return;
    event.preventDefault();
    event.stopPropagation();
  }, true);
}

// Whether keys belong to a field in which text is typed.
const isTyping = (event) => /^(TEXTAREA|SELECT)$/.test(event.target.tagName) || /^(text|search|number)$/.test(event.target.type);

function spread(heights, most) {
  if (heights.length <= most) return heights;
  return Array.from({ length: most }, (_, tile) => heights[Math.round((tile * (heights.length - 1)) / (most - 1))]);
}
