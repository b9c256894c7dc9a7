"""`mapping demo`: a trained model on two simulated scans and on the user's own scans."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from mapping_stroke.cohort.inputs import find_scans
from mapping_stroke.cohort.loop import segment_scans
from mapping_stroke.cohort.results import LESIONS_SUFFIX, PAGE_SUFFIX, FlatLayout, ScanFiles
from mapping_stroke.cohort.settings import Computation, ScanOptions
from mapping_stroke.console import aligned, counted, say, track
from mapping_stroke.dataset.grid import ATLAS_GRID
from mapping_stroke.errors import CaseError
from mapping_stroke.files import describe_missing, read_csv
from mapping_stroke.images.formats import IMAGE_SUFFIXES, image_suffix
from mapping_stroke.images.image import read_image, read_mask, write_image
from mapping_stroke.inference.engines import choose_device
from mapping_stroke.inference.segmentation import LesionRow
from mapping_stroke.networks.bundle import open_bundle
from mapping_stroke.report.overview import Findings, FoundScan, draw_overview, look_at
from mapping_stroke.run_folder import MASK_SUFFIX, PROBABILITY_SUFFIX, working_in
from mapping_stroke.simulation.brain import Brain
from mapping_stroke.simulation.case import Look, simulate_case
from mapping_stroke.simulation.cohort import GENERATOR_VERSION, TEMPLATE, TEMPLATE_STRENGTH
from mapping_stroke.simulation.lesions import allowed_region, draw_lesions
from mapping_stroke.simulation.painting import draw_appearance
from mapping_stroke.simulation.person import draw_ageing, draw_deformation
from mapping_stroke.simulation.scanner import draw_scanner, store
from mapping_stroke.simulation.sources import read_template
from mapping_stroke.space.model_input import deface

GRID = ATLAS_GRID
"""Grid of the scans; tests use a coarser one."""
SCAN_SUFFIX, TRUTH_SUFFIX = ".nii.gz", "_reference.nii.gz"


@dataclass(frozen=True)
class DemoScan:
    """A simulated, cleanly skull-stripped scan in MNI space, not a patient.

    Attributes:
        name: Name of its file, without suffix.
        parts_mm3: Volume of each lesion; none for a healthy brain.
        age: 0 young to 1 old.
        seed: Seed of everything random: location and appearance of lesions, anatomy and scanner.
    """

    name: str
    parts_mm3: tuple[float, ...]
    age: float
    seed: int

    def scan(self, folder: Path) -> Path:
        """The scan's file."""
        return folder / f"{self.name}{SCAN_SUFFIX}"

    def truth(self, folder: Path) -> Path:
        """The file of the true lesions. There is none for a healthy brain."""
        return folder / f"{self.name}{TRUTH_SUFFIX}"

    def exists(self, folder: Path) -> bool:
        """Whether its files exist."""
        return self.scan(folder).is_file() and (not self.parts_mm3 or self.truth(folder).is_file())


DEMO_SCANS = (
    DemoScan("simulated-stroke", (20_000.0, 1_500.0), age=0.6, seed=0),
    DemoScan("simulated-healthy", (), age=0.75, seed=4),
)
"""A typical stroke with a medium-sized and a small lesion, and an old brain without lesions."""


def make_demo_scans(folder: Path, *, overwrite: bool = False) -> None:
    """Write the missing scans and their true lesions. Each takes a few seconds.

    Args:
        folder: Target; a repeat reuses its scans.
        overwrite: Replace the scans of another version.

    Raises:
        RunFolderError: The folder holds something else.
    """
    identity = {
        "command": "demo",
        "simulated": True,
        "generator": GENERATOR_VERSION,
        "brain": TEMPLATE,
        "grid": asdict(GRID),
        "scans": [asdict(scan) for scan in DEMO_SCANS],
    }
    with working_in(folder, identity, (f"*{SCAN_SUFFIX}",), overwrite=overwrite):
        _make_missing(folder)


def _make_missing(folder: Path) -> None:
    missing = [scan for scan in DEMO_SCANS if not scan.exists(folder)]
    if not missing:
        return
    say(f"Simulating {counted(len(missing), 'scan')} (a few seconds each)")
    brain = read_template(GRID)
    for scan in track(missing, "Simulating", len(missing)):
        _make(scan, brain, folder)


def _make(scan: DemoScan, brain: Brain, folder: Path) -> None:
    rng, load_mm3 = np.random.default_rng(scan.seed), sum(scan.parts_mm3)
    lesions = draw_lesions(brain, allowed_region(brain), scan.parts_mm3, rng)
    look = Look(
        age=scan.age,
        ageing=draw_ageing(scan.age, rng),
        deformation=draw_deformation(scan.age, load_mm3, TEMPLATE_STRENGTH, rng),
        appearance=draw_appearance(load_mm3, rng),
        scanner=draw_scanner(rng),
    )
    made = simulate_case(brain, lesions, look, rng)
    voxels, mask = np.zeros(GRID.shape, np.uint8), np.zeros(GRID.shape, np.bool_)
    voxels[brain.box], mask[brain.box] = store(made.scan, made.coverage).numpy(), made.mask.numpy()
    if scan.parts_mm3:
        write_image(scan.truth(folder), mask, GRID.affine)
    write_image(scan.scan(folder), voxels, GRID.affine)


DEFAULT_MODEL = "default"
SHOWN_SCANS = 8
"""Most rows of the picture."""
LISTED = 12
"""The table lists this many lesions per scan."""
HEADER = ("Scan", "Lesion", "Volume (mL)", "Side", "Centre x, y, z (mm)", "Mean P")
NOTE, NOTE_OF_OTHERS = "simulated, not a patient", "your scan"
ABOUT = """The stroke and the healthy brain are simulated; they are not patients. They are derived from the ICBM
template, which is among the training brains of the bundled model, so scores on them say little about patients.
"""


def show_model(
    out: Path, scans: Sequence[Path], model: str = DEFAULT_MODEL, device: str = "auto", *, overwrite: bool = False
) -> list[str]:
    """Segment a simulated stroke, a simulated healthy brain and given scans, and print and draw the lesions.

    Args:
        out: Folder for `scans/`, `segment/` and `demo.png`; a repeat resumes there.
        scans: Further scans, or folders of them.
        model: See `open_bundle`.
        device: `auto`, `cpu`, `cuda` or `mps`.
        overwrite: Replace results of another version or model there.

    Returns:
        The names of scans that failed; `segment/run.json` gives the reasons.

    Raises:
        MappingError: There is no such model, device or scan, or a folder holds something else.
    """
    choose_device(device)  # fails before anything is written
    card = open_bundle(model).card
    _require_images(scans)
    simulated = [scan.scan(out / "scans") for scan in DEMO_SCANS]
    named = find_scans([*simulated, *scans])
    say(f"The model '{card.name}' segments a stroke and a healthy brain{_and_others(len(scans))}.\n{ABOUT}")
    make_demo_scans(out / "scans", overwrite=overwrite)
    segmented = out / "segment"
    options = ScanOptions(reference=out / "scans")
    computation = Computation(model, device=device)
    failed = segment_scans(list(named.values()), segmented, computation, options, overwrite=overwrite)
    rows = [_look_at(out, name, scan) for name, scan in named.items() if name not in failed]
    if rows:
        draw_overview(rows[:SHOWN_SCANS], out / "demo.png")
        _report_lesions(rows)
    _report_files(out, rows)
    return failed


def _and_others(given: int) -> str:
    return f" and your own scans ({counted(given, 'path')})" if given else ""


def _require_images(scans: Sequence[Path]) -> None:
    """Refuse at once paths that would fail later."""
    for scan in scans:
        if not scan.exists():
            raise CaseError(f"{scan}: {describe_missing(scan)}")
        if not scan.is_dir() and image_suffix(scan) is None:
            raise CaseError(f"{scan}: not an image file name; expected one of {', '.join(IMAGE_SUFFIXES)}")


def _look_at(out: Path, name: str, scan: Path) -> FoundScan:
    """Read the results of `segment` for a scan, and the truth of a simulated one."""
    files = ScanFiles(FlatLayout(out / "segment"), name, ScanOptions())
    simulated = {demo.name: demo for demo in DEMO_SCANS}.get(name)
    truth = None
    if simulated is not None and simulated.parts_mm3:
        truth = read_mask(simulated.truth(out / "scans"))[0]
    findings = Findings(
        read_mask(files.path(MASK_SUFFIX))[0],
        read_image(files.path(PROBABILITY_SUFFIX)).voxels,
        tuple(_lesion(row) for row in read_csv(files.path(LESIONS_SUFFIX), delimiter="\t")),
        truth,
    )
    return look_at(name, deface(read_image(scan)), findings, NOTE if simulated else NOTE_OF_OTHERS)


def _lesion(row: dict[str, str]) -> LesionRow:
    values = {name: float(value) for name, value in row.items()}
    return LesionRow(lesion=int(values.pop("lesion")), **values)


def _report_lesions(rows: Sequence[FoundScan]) -> None:
    say("\nLesions found:")
    for line in aligned([HEADER, *(line for row in rows for line in _lines(row))]):
        say(f"  {line}")


def _lines(row: FoundScan) -> list[tuple[str, ...]]:
    """The table rows of a scan. Only the first line has its name."""
    cells: list[tuple[str, ...]] = [
        (
            str(lesion.lesion),
            f"{lesion.volume_ml:11.3f}",
            row.side(lesion),
            f"{lesion.x_mm:.0f}, {lesion.y_mm:.0f}, {lesion.z_mm:.0f}",
            f"{lesion.mean_probability:.2f}",
        )
        for lesion in row.lesions[:LISTED]
    ]
    if len(row.lesions) > LISTED:
        volume_ml = sum(lesion.volume_ml for lesion in row.lesions[LISTED:])
        cells.append((f"{len(row.lesions) - LISTED} more", f"{volume_ml:11.3f}", "", "", ""))
    if not row.lesions:
        cells.append(("none", f"{0:11.3f}", "", "", ""))
    if row.true_ml is not None:
        cells.append(("truth", f"{row.true_ml:11.3f}", f"Dice {row.dice:.2f}", "", ""))
    return [(row.name if number == 0 else "", *line) for number, line in enumerate(cells)]


def _report_files(out: Path, rows: Sequence[FoundScan]) -> None:
    say("")
    if rows:
        few = "" if len(rows) <= SHOWN_SCANS else f" (it shows {SHOWN_SCANS} of {counted(len(rows), 'scan')})"
        say(f"Look at the picture:        {out / 'demo.png'}{few}")
        page = FlatLayout(out / "segment").relative(rows[0].name, PAGE_SUFFIX)
        say(f"Open a page per scan:       {out / 'segment' / page}")
    say(f"All scans, masks, tables:   {out / 'segment'}")
    say(f"The simulated scans:        {out / 'scans'}")
