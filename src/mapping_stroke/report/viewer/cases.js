// A view of one of several cases within the report of a run. Nothing is unpacked before a case is chosen.

{
  const stage = document.getElementById("case-stage");
  const message = stage.querySelector("p");
  const buttons = [...document.querySelectorAll("[data-case]")];
  const layers = [...document.querySelectorAll("[data-case-layer]")];
  let viewer = null;

  const open = async (number) => {
    buttons.forEach((button, index) => button.setAttribute("aria-pressed", String(index === number)));
    message.hidden = false;
    message.textContent = "Opening the case …";
    try {
      if (!window.niivue) await loadLibrary(document.getElementById("case-library").textContent);
      const scan = await unpackScan(JSON.parse(document.getElementById("case-volumes").textContent)[number]);
      viewer?.nv.gl.getExtension("WEBGL_lose_context")?.loseContext(); // browsers keep only some
      stage.querySelector("canvas")?.remove();
      const canvas = document.createElement("canvas");
      canvas.tabIndex = 0;
      canvas.setAttribute("aria-label", `Case ${buttons[number].textContent} in three planes`);
      stage.append(canvas);
      viewer = await new ScanViewer(canvas, scan).open();
      layers.forEach((box) => viewer.show(box.dataset.caseLayer, box.checked));
      viewer.goToMarks();
      message.hidden = true;
      window.mappingViewer = viewer;
      stage.dataset.case = String(number);
      setTimeout(() => viewer.addRender(), 100);
    } catch (error) {
      message.textContent = `The view could not start (${error.message ?? error}). It needs a browser with WebGL 2.`;
    }
  };

  buttons.forEach((button, number) => button.addEventListener("click", () => open(number)));
  layers.forEach((box) => box.addEventListener("change", () => viewer?.show(box.dataset.caseLayer, box.checked)));
}
