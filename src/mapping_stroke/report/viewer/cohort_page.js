// The table of a cohort page: sorting by each column, search and filters, pictures on request.

const table = document.getElementById("scans");
const rows = [...table.tBodies[0].rows];
const heads = [...table.tHead.rows[0].cells];
const search = document.getElementById("search");
const filters = [...document.querySelectorAll("[data-filter]")];
const words = new Intl.Collator("en", { numeric: true, sensitivity: "base" });
const texts = rows.map((row) => row.textContent.toLowerCase());

function sortBy(head) {
  const column = heads.indexOf(head);
  const isNumber = head.dataset.kind === "number";
  const first = head.dataset.first ?? (isNumber ? "descending" : "ascending");
  const other = first === "ascending" ? "descending" : "ascending";
  const order = head.getAttribute("aria-sort") === first ? other : first;
  heads.forEach((each) => each.removeAttribute("aria-sort"));
  head.setAttribute("aria-sort", order);
  const sign = order === "ascending" ? 1 : -1;
  const keyed = rows.map((row) => {
    const cell = row.cells[column];
    const key = isNumber ? cell.dataset.sort : cell.textContent.trim();
    return { row, missing: key === "", key: isNumber ? Number(key) : key };
  });
  keyed.sort((a, b) => {
    if (a.missing || b.missing) return a.missing - b.missing; // unknown values come last in both directions
    return sign * (isNumber ? a.key - b.key : words.compare(a.key, b.key));
  });
  table.tBodies[0].append(...keyed.map((each) => each.row));
}

function filter() {
  const asked = search.value.toLowerCase().split(/\s+/).filter(Boolean);
  const tag = filters.find((button) => button.getAttribute("aria-pressed") === "true").dataset.filter;
  let shown = 0;
  rows.forEach((row, index) => {
    const fits = (!tag || row.dataset.tags.split(" ").includes(tag)) && asked.every((word) => texts[index].includes(word));
    if (row.hidden === fits) row.hidden = !fits;
    shown += fits;
  });
  document.getElementById("shown").textContent = `${shown} of ${rows.length} shown`;
}

function showPictures(on) {
  for (const link of document.querySelectorAll("[data-picture]")) {
    if (!on) link.textContent = "slices";
    else {
      const image = new Image();
      image.loading = "lazy";
      image.alt = "Slices with the outline of the lesions";
      image.src = link.href;
      link.replaceChildren(image);
    }
  }
}

heads.forEach((head) => head.querySelector("button")?.addEventListener("click", () => sortBy(head)));
search.addEventListener("input", filter);
filters.forEach((button) =>
  button.addEventListener("click", () => {
    filters.forEach((each) => each.setAttribute("aria-pressed", String(each === button)));
    filter();
  }),
);
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && event.target === search) {
    search.value = "";
    filter();
  } else if (event.key === "/" && event.target.tagName !== "INPUT" && !event.ctrlKey && !event.metaKey) {
    event.preventDefault();
    search.focus();
  }
});
const pictures = document.getElementById("pictures");
if (pictures) {
  pictures.addEventListener("change", () => showPictures(pictures.checked));
  if (pictures.checked) showPictures(true);
}
filter();
